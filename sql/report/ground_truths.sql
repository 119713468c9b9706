-- one row per evaluated session of a dataset, in their order: its ground truth
select
    s.session_id,
    s.ground_truth
from core.session as s
inner join core.dataset as d on s.dataset_id = d.dataset_id
where d.name = $dataset and s.ground_truth is not null
order by s.session_id
