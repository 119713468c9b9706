-- one row per interaction of the input, in its order, user and item as codes; moment is what orders a session: the part
-- (1 train, 2 validation, 3 test) where $in_parts, then the time, then the sort key of the input; it counts from 1 for
-- each user
create or replace temp table event as
with parted as (
    select
        rowid as input_order,
        hash(user_id, $salt) as user_code,
        hash(item_id, $salt) as item_code,
        time,
        sort_key,
        case
            when not $in_parts then null
            when part = 'validation' then 2
            when part = 'test' then 3
            else 1
        end::utinyint as part
    from staged_interaction
)

select
    user_code,
    item_code,
    time,
    dense_rank() over (partition by user_code order by part, time, sort_key) as moment,
    part
from parted
order by input_order
