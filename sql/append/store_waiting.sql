-- one row per new interaction that the version $dataset_id of a dataset leaves out
insert into core.waiting_interaction
select
    $dataset_id,
    n.user_id,
    n.item_id,
    n.time,
    n.sort_key
from new_interaction as n
anti join interactions as o
    on o.dataset = $dataset and n.user_id = o.session and n.item_id = o.item and n.time = o.time
order by n.rowid
