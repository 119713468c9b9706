-- one row per description of an item that only waiting interactions of the version have
insert into core.waiting_item
select
    $dataset_id,
    d.item_id,
    d.title,
    d.category,
    d.fields
from staged_item as d
semi join core.waiting_interaction as w on w.dataset_id = $dataset_id and d.item_id = w.item_id
anti join core.item as i on i.dataset_id = $dataset_id and d.item_id = i.external_id
order by d.rowid
