-- one row per dataset that has runs: how it was split and what it holds
select
    d.name as dataset,
    d.protocol,
    d.statistics
from core.dataset as d
where
    ($dataset::varchar is null or d.name = $dataset)
    and d.dataset_id in (select r.dataset_id from core.run as r)
order by d.dataset_id
