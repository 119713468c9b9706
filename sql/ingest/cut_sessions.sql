-- one row per interaction staged, in the order of the input, the user now a session of that user: a new one begins
-- where more than $gap seconds lie before an interaction
create or replace temp table staged_interaction as
with gaps as (
    select
        *,
        rowid as place,
        coalesce(epoch(time) - epoch(lag(time) over of_user) > $gap, false) as opens
    from staged_interaction
    window of_user as (partition by user_id order by time, sort_key, rowid)
),

numbered as (
    select
        *,
        1 + sum(opens::integer) over (partition by user_id order by time, sort_key, place) as number
    from gaps
)

select
    user_id || ':' || number as user_id,
    item_id,
    time,
    rejected_because,
    part,
    sort_key
from numbered
order by place
