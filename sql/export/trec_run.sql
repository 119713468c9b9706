-- one row per recommended item of a run, as trec_eval reads it; it orders by the score alone, so the score is made of
-- the rank, which equal scores leave open
select
    trec_id(s.name) as query,
    'Q0' as iteration,
    trec_id(i.external_id) as document,
    x.rank,
    r.list_length + 1 - x.rank as score,
    r.name as tag
from core.recommendation as x
inner join core.run as r on x.run_id = r.run_id
inner join core.test_case as s on r.split_id = s.split_id and x.case_id = s.case_id
inner join core.item as i on r.dataset_id = i.dataset_id and x.item_id = i.item_id
where
    x.run_id = $run_id
    and ($k::integer is null or x.rank <= $k)
order by x.case_id, x.rank
