-- one row per split of a dataset, in the order in which they were made: its name
select name
from core.split
where dataset_id = $dataset_id
order by split_id
