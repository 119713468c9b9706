-- one row per interaction of the sessions from $first to $last; position is the earliest place it can take in its
-- session, tied says that another interaction of the session has the same time
create or replace temp table kept_interaction as
select
    s.session_id,
    i.item_id,
    e.time,
    e.part,
    (rank() over session_by_time)::integer as position,
    coalesce(
        e.moment = lag(e.moment) over session_by_time
        or e.moment = lead(e.moment) over session_by_time, false
    ) as tied
from event as e
inner join kept_session as s on e.user_code = s.user_code and s.session_id between $first and $last
inner join kept_item as i on e.item_code = i.item_code
window session_by_time as (partition by s.session_id order by e.moment)
