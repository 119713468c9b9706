-- one row per recommended item of a scored session, best first; safe: a ' before what a spreadsheet would run
select
    if($safe, safe_cell(s.session_id), s.session_id) as session,
    x.rank,
    if($safe, safe_cell(c.item_id), c.item_id) as item,
    x.score
from scored as x
inner join scored_session as s on x.number = s.number
inner join catalog_items as c on x.item = c.item
order by x.number, x.rank
