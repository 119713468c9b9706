-- one row per run, metric and cut-off that is stored
select
    m.run_id,
    m.metric || '@' || m.k as name,
    m.value
from core.metric as m
inner join core.run as r on m.run_id = r.run_id
inner join core.dataset as d on r.dataset_id = d.dataset_id
where $dataset::varchar is null or d.name = $dataset
