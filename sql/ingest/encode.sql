-- one row per interaction of the input, in its order, user and item as codes; moment is what orders a session: the part
-- (1 train, 2 validation, 3 test) where $in_parts, then the time
create or replace temp table event as
with parted as (
    select
        *,
        case
            when not $in_parts then null
            when part = 'validation' then 2
            when part = 'test' then 3
            else 1
        end::utinyint as number
    from staged_interaction
)

select
    hash(user_id, $salt) as user_code,
    hash(item_id, $salt) as item_code,
    time,
    -- no time is as many microseconds from 1970 as lie between two parts
    coalesce(number, 0)::bigint * 1000000000000000000 + epoch_us(time) as moment,
    number as part
from parted
