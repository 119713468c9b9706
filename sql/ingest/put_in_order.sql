-- one row per interaction staged, in the order of the input; those of a user with equal times are a microsecond
-- apart, in the order of their sort keys
create or replace temp table staged_interaction as
with ordered as (
    select
        *,
        rowid as place,
        row_number() over (partition by user_id, time order by sort_key, rowid) - 1 as after
    from staged_interaction
)

select
    user_id,
    item_id,
    time + to_microseconds(after) as time,
    rejected_because,
    part,
    sort_key
from ordered
order by place
