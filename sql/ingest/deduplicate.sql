-- one row per pair of user and item: the earliest interaction of the two (the first of the input among equals),
-- in the order of the input
create or replace temp table event as
select
    user_code,
    item_code,
    min(time) as time
from event
group by user_code, item_code
order by arg_min(rowid, { 'time': time, 'place': rowid })
