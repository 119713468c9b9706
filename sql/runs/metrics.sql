-- one row per metric of a run, such as ndcg@20, by cut-off
select
    metric || '@' || k as name,
    value
from core.metric
where run_id = $run_id
order by k, rowid
