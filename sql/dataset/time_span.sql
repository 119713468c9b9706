-- one row: when the first and the last interaction of a dataset took place
select
    min(time) as first_time,
    max(time) as last_time
from core.interaction
where dataset_id = $dataset_id
