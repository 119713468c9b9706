-- one row: how many items the input describes that no interaction of the dataset has
select count(distinct s.item_id) as items
from staged_item as s
where s.item_id not in (select external_id from kept_item)
