-- one row per interaction that the dataset has not: those that wait from earlier appends first, then those of the files
create or replace temp table new_interaction as
with stored as (
    select
        session as user_id,
        item as item_id,
        time
    from interactions
    where dataset = $dataset
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
