-- one row per interaction, by session and position: its time in microseconds
select epoch_us(time) as time
from core.interaction
where dataset_id = $dataset_id
order by session_id, position
