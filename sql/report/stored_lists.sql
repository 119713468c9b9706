-- one row per recommended item of a run; case_number counts the run's evaluated cases from 0
with numbered as (
    select
        case_id,
        row_number() over (order by case_id) - 1 as case_number
    from core.case_rank
    where run_id = $run_id
)

select
    n.case_number,
    x.rank,
    x.item_id
from core.recommendation as x
inner join numbered as n on x.case_id = n.case_id
where
    x.run_id = $run_id
    and x.rank <= $k
