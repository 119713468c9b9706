-- one row per item, by item id; in_train: whether the split trains on it
select
    i.external_id,
    coalesce(i.title, '') as title,
    coalesce(i.category, '') as category,
    i.popularity,
    s.train_popularity > 0 as in_train
from core.item as i
inner join core.split_item as s on s.split_id = $split_id and i.item_id = s.item_id
where i.dataset_id = $dataset_id
order by i.item_id
