-- one row per interaction, by session and position
select item_id
from core.interaction
where dataset_id = $dataset_id
order by session_id, position
