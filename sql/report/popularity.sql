-- one row per item of a dataset, by item number: its interactions in the whole dataset
select i.popularity
from core.item as i
inner join core.protocol as d on i.dataset_id = d.dataset_id
where d.name = $dataset
order by i.item_id
