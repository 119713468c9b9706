-- one row per item of a run's lists, to the depth asked for, and one with rank null per evaluated case without any
select
    c.case_id,
    x.rank,
    x.item_id
from core.case_rank as c
left join core.recommendation as x
    on c.run_id = x.run_id and c.case_id = x.case_id and x.rank <= $depth
where c.run_id = $run_id
order by c.case_id, x.rank
