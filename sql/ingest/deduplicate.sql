-- one row per pair of user and item: the earliest interaction of the two (the first of the input among equals),
-- in the order of the input
create or replace temp table event as
select
    user_code,
    item_code,
    arg_min(time, moment) as time,
    min(moment) as moment,
    min(part) as part
from event
group by user_code, item_code
order by arg_min(rowid, { 'moment': moment, 'place': rowid })
