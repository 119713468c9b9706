-- one row per item, by item id
select
    external_id,
    coalesce(title, '') as title,
    coalesce(category, '') as category,
    popularity,
    train_popularity > 0 as in_train
from core.item
where dataset_id = $dataset_id
order by item_id
