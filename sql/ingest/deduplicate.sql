-- one row per pair of user and item: the earliest interaction of the two
create or replace temp table event as
select
    user_code,
    item_code,
    min(time) as time,
    arg_min(input_order, {'time': time, 'input_order': input_order}) as input_order
from event
group by user_code, item_code
