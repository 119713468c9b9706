-- one row per interaction of the dataset before it grows, then one per new interaction that is not among them; in this
-- order. What was stored keeps its order: its sort keys lie below all that files have
create or replace temp table staged_interaction as
with stored as (
    select
        s.external_id as user_id,
        i.external_id as item_id,
        x.time,
        x.position,
        x.session_id
    from core.interaction as x
    inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
    inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
    where x.dataset_id = $dataset_id
),

new as (
    select
        rowid as place,
        *
    from staged_interaction
),

together as (
    select
        user_id,
        item_id,
        time,
        position - 1e9::double as sort_key,
        0 as part_of,
        row_number() over (order by session_id, position) as place
    from stored
    union all by name
    select
        n.user_id,
        n.item_id,
        n.time,
        n.sort_key,
        1 as part_of,
        n.place
    from new as n
    anti join stored as o on n.user_id = o.user_id and n.item_id = o.item_id and n.time = o.time
)

select
    user_id,
    item_id,
    time,
    null::varchar as rejected_because,
    null::varchar as part,
    sort_key
from together
order by part_of, place
