-- one row per evaluated case of a run, in their order: its ground truth and where the run ranked it (0: not stored)
select
    s.ground_truth,
    coalesce(x.rank, 0) as rank
from core.case_rank as x
inner join core.run as r on x.run_id = r.run_id
inner join core.test_case as s on r.split_id = s.split_id and x.case_id = s.case_id
where x.run_id = $run_id
order by x.case_id
