-- one row per run, the best NDCG@20 of each dataset first; a leaderboard of your own starts from this
-- (tables are made per dataset, columns named like "ndcg@20" are marked, the order of the rows stays)
with figures as (
    select
        run,
        max(value) filter (where metric = 'ndcg' and k = 20) as "ndcg@20",
        max(value) filter (where metric = 'hr' and k = 20) as "hr@20",
        max(value) filter (where metric = 'coverage' and k = 20) as "coverage@20"
    from metrics
    group by run
)

select
    r.dataset,
    r.run,
    r.label,
    r.embeddings ->> 'source' as embeddings,
    f."ndcg@20",
    f."hr@20",
    f."coverage@20",
    (r.figures ->> 'train_seconds')::double as train_seconds
from runs as r
inner join figures as f on r.run = f.run
order by r.dataset asc, f."ndcg@20" desc
