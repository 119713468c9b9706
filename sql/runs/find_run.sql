-- one row per run that the name may mean, the meant one first: a run's own name or number, else "latest" (the newest),
-- else a model's name (its run with the best NDCG@20, the newest among equals)
select
    r.run_id,
    r.name as run,
    d.name as dataset,
    r.model,
    r.label,
    r.seed,
    r.settings,
    r.embeddings
from core.run as r
inner join core.protocol as d on r.split_id = d.split_id
left join core.metric as m on r.run_id = m.run_id and m.metric = 'ndcg' and m.k = 20
where
    ($dataset::varchar is null or $dataset in (d.name, d.dataset || '/' || d.split, '/' || d.split))
    and (
        (r.run_id = $run_id and $name in (r.name, r.run_id::varchar))
        or $name = 'latest'
        or r.model = $name
    )
order by
    (r.name = $name) desc,
    case when $name <> 'latest' then m.value end desc nulls last,
    r.run_id desc
limit 1
