-- one row per interaction that the dataset has not: those that wait from earlier appends first, then those of the files
create or replace temp table new_interaction as
with stored as (
    select
        s.external_id as user_id,
        i.external_id as item_id,
        x.time
    from core.interaction as x
    inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
    inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
    where x.dataset_id = $dataset_id
    union all
    select
        user_id,
        item_id,
        time
    from core.waiting_interaction
    where dataset_id = $dataset_id
),

together as (
    select
        user_id,
        item_id,
        time,
        sort_key,
        true as waited,
        rowid as place
    from core.waiting_interaction
    where dataset_id = $dataset_id
    union all by name
    select
        n.user_id,
        n.item_id,
        n.time,
        n.sort_key,
        false as waited,
        n.place
    from (
        select
            rowid as place,
            *
        from staged_interaction
    ) as n
    anti join stored as o on n.user_id = o.user_id and n.item_id = o.item_id and n.time = o.time
)

select
    user_id,
    item_id,
    time,
    sort_key,
    waited
from together
order by waited desc, place asc
