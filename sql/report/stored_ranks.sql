-- one row per evaluated session of a run, by session: its ground truth and where the run ranked it (0: not stored)
select
    s.ground_truth,
    coalesce(x.rank, 0) as rank
from core.session_rank as x
inner join core.run as r on x.run_id = r.run_id
inner join core.session as s on r.dataset_id = s.dataset_id and x.session_id = s.session_id
where x.run_id = $run_id
order by x.session_id
