-- one row per recommended item of a scored session, best first
select
    s.session_id as session,
    x.rank,
    c.item_id as item,
    x.score
from scored as x
inner join scored_session as s on x.number = s.number
inner join catalog_items as c on x.item = c.item
order by x.number, x.rank
