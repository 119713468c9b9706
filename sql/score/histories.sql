-- one row per session to score, numbered in the order of the file
create or replace table scored_session as
select
    session_id,
    (row_number() over (order by min(input_order)) - 1)::integer as number
from staged_session_item
group by session_id;

-- one row per item of a session that the catalog knows, in the order in which blocks of sessions are read
create or replace table scored_history as
select
    s.number,
    c.item,
    x.time,
    row_number() over (partition by s.number order by x.time, x.input_order) as position
from staged_session_item as x
inner join scored_session as s on x.session_id = s.session_id
inner join catalog_items as c on x.item_id = c.item_id
order by s.number asc, position asc
