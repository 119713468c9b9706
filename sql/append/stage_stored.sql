-- one row per interaction of the dataset before it grows, then one per interaction that it has not; in this order. What
-- was stored keeps its order: its sort keys lie below all that files have
create or replace temp table staged_interaction as
with together as (
    select
        s.external_id as user_id,
        i.external_id as item_id,
        x.time,
        x.position - 1e9::double as sort_key,
        0 as part_of,
        row_number() over (order by x.session_id, x.position) as place
    from core.interaction as x
    inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
    inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
    where x.dataset_id = $dataset_id
    union all by name
    select
        user_id,
        item_id,
        time,
        sort_key,
        1 as part_of,
        rowid as place
    from new_interaction
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
