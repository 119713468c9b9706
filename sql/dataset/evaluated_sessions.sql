-- one row per item of the evaluated sessions that counts (see core.test_item), by session and position;
-- the last one of a session is its ground truth
select
    session_id,
    item_id
from core.test_item
where
    dataset_id = $dataset_id
    and ground_truth is not null
order by session_id, position
