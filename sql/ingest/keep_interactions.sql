-- one row per interaction that stays; first_position is the earliest place it can take in its session,
-- tied says that another interaction of the session bears the same time
create or replace temp table kept_interaction as
with kept as (
    select
        s.session_id,
        i.item_id,
        e.time,
        e.input_order
    from event as e
    inner join kept_session as s on e.user_code = s.user_code
    inner join kept_item as i on e.item_code = i.item_code
)

select
    session_id,
    item_id,
    time,
    input_order,
    (rank() over session_by_time)::integer as first_position,
    coalesce(
        time = lag(time) over session_by_time
        or time = lead(time) over session_by_time, false
    ) as tied
from kept
window session_by_time as (partition by session_id order by time)
