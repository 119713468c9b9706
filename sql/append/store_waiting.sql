-- one row per new interaction that the version $dataset_id of a dataset leaves out
insert into core.waiting_interaction
with stored as (
    select
        s.external_id as user_id,
        i.external_id as item_id,
        x.time
    from core.interaction as x
    inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
    inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
    where x.dataset_id = $dataset_id
)

select
    $dataset_id,
    n.user_id,
    n.item_id,
    n.time,
    n.sort_key
from new_interaction as n
anti join stored as o on n.user_id = o.user_id and n.item_id = o.item_id and n.time = o.time
order by n.rowid
