-- one row per split of a dataset that has runs: how it was made and what it holds
select
    d.name as dataset,
    d.dataset as dataset_name,
    d.split,
    d.protocol,
    d.statistics
from core.protocol as d
where
    ($dataset::varchar is null or $dataset in (d.name, d.dataset, d.dataset || '/' || d.split, '/' || d.split))
    and d.split_id in (select r.split_id from core.run as r)
order by d.split_id
