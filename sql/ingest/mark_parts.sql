-- one row per interaction staged, as before but with the part that its equal in one of the parts has
create or replace temp table staged_interaction as
select
    x.user_id,
    x.item_id,
    x.time,
    x.rejected_because,
    p.part,
    x.sort_key
from staged_interaction as x
left join staged_part as p
    on x.user_id = p.user_id and x.item_id = p.item_id and x.time = p.time
order by x.rowid
