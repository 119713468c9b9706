-- one row per case that is tested of a split, in their order: its ground truth
select
    c.case_id,
    c.ground_truth
from core.test_case as c
inner join core.protocol as d on c.split_id = d.split_id
where d.name = $dataset
order by c.case_id
