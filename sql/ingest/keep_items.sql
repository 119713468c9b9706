-- one row per item that stays: its id counts up with its external id
create or replace temp table kept_item as
select
    live.item_code,
    names.item_id as external_id,
    (row_number() over (order by names.item_id) - 1)::integer as item_id,
    live.n as popularity
from live_item as live
inner join item_name as names on live.item_code = names.item_code
