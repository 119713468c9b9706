-- one row per study of a dataset's splits
select distinct t.study
from core.trial as t
inner join core.split as s on t.split_id = s.split_id
where s.dataset_id = $dataset_id
