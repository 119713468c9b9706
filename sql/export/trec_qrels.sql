-- one row per session that a run was scored on: its ground truth, as trec_eval reads it
select
    regexp_replace(s.external_id, '\s', '%20', 'g') as query,
    0 as iteration,
    regexp_replace(i.external_id, '\s', '%20', 'g') as document,
    1 as relevance
from core.session_rank as x
inner join core.run as r on x.run_id = r.run_id
inner join core.session as s on r.dataset_id = s.dataset_id and x.session_id = s.session_id
inner join core.item as i on r.dataset_id = i.dataset_id and s.ground_truth = i.item_id
where x.run_id = $run_id
order by x.session_id
