-- one row per item: how often it occurs, the most popular first
select popularity
from core.item
where dataset_id = $dataset_id
order by popularity desc
