-- one row per recommended item of a run; session_number counts the run's evaluated sessions from 0
with numbered as (
    select
        session_id,
        row_number() over (order by session_id) - 1 as session_number
    from core.session_rank
    where run_id = $run_id
)

select
    n.session_number,
    x.rank,
    x.item_id
from core.recommendation as x
inner join numbered as n on x.session_id = n.session_id
where
    x.run_id = $run_id
    and x.rank <= $k
