-- one row per item, by item id: its title and all its text attributes
select
    coalesce(title, '') as title,
    coalesce(fields, '{}') as fields
from core.item
where dataset_id = $dataset_id
order by item_id
