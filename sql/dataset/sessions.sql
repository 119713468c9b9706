-- one row per interaction of the sessions from $first to $last, by session and position
select
    session_id,
    item_id
from core.interaction
where
    dataset_id = $dataset_id
    and session_id between $first and $last
order by session_id, position
