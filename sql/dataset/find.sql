-- one row per split that the name may mean, the first of its dataset first: a dataset's name alone means any of its
-- splits, DATASET/SPLIT that one
select
    split_id,
    dataset_id,
    name,
    dataset,
    split,
    kind,
    protocol,
    statistics,
    source
from core.protocol
where $name in (dataset, dataset || '/' || split)
order by split_id
