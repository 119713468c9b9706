-- one row per item that falls out of the k-core in this round
create or replace temp table dropped_item as
select item_code
from live_item
where n < $k
