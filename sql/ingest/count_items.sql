-- one row per item still in the k-core, with the interactions left to it
create or replace temp table live_item as
select
    item_code,
    count(*) as n
from event
group by item_code
