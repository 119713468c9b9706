-- one row per session, by session id: how many interactions it has
select length
from core.session
where dataset_id = $dataset_id
order by session_id
