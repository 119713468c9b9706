-- one row: the dataset of this name
select
    dataset_id,
    name,
    protocol,
    statistics,
    source
from core.dataset
where name = $name
