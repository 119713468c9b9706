-- one row per run, metric and cut-off that is stored
select
    m.run_id,
    m.metric || '@' || m.k as name,
    m.value
from core.metric as m
inner join core.run as r on m.run_id = r.run_id
inner join core.protocol as d on r.split_id = d.split_id
where $dataset::varchar is null or $dataset in (d.name, d.dataset, d.dataset || '/' || d.split, '/' || d.split)
