-- one row per run and case that it was scored on: where it ranked the ground truth, 0 where not among its items
select
    x.run_id,
    x.case_id,
    coalesce(x.rank, 0) as rank
from core.case_rank as x
where x.run_id in (select unnest($run_ids::integer[]))
