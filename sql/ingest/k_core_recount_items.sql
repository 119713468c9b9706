-- one row per item still in the k-core, less the interactions of the users that fell out;
-- only those interactions are read again, not the whole table
create or replace temp table live_item as
with lost as (
    select
        item_code,
        count(*) as n
    from event
    where user_code in (select user_code from dropped_user)
    group by item_code
)

select
    live.item_code,
    live.n - coalesce(lost.n, 0) as n
from live_item as live
left join lost on live.item_code = lost.item_code
