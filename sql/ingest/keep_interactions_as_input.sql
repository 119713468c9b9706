-- one row per interaction of the sessions from $first to $last with its position in the session; equal times stay in
-- the order of the input
create or replace temp table kept_interaction as
select
    s.session_id,
    i.item_id,
    e.time,
    e.part,
    (row_number() over (partition by s.session_id order by e.moment, e.rowid))::integer as position,
    false as tied
from event as e
inner join kept_session as s on e.user_code = s.user_code and s.session_id between $first and $last
inner join kept_item as i on e.item_code = i.item_code
