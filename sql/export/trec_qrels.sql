-- one row per case that a run was scored on: its ground truth, as trec_eval reads it
select
    trec_id(s.name) as query,
    0 as iteration,
    trec_id(i.external_id) as document,
    1 as relevance
from core.case_rank as x
inner join core.run as r on x.run_id = r.run_id
inner join core.test_case as s on r.split_id = s.split_id and x.case_id = s.case_id
inner join core.item as i on r.dataset_id = i.dataset_id and s.ground_truth = i.item_id
where x.run_id = $run_id
order by x.case_id
