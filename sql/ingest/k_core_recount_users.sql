-- one row per user still in the k-core, less the interactions with the items that fell out
create or replace temp table live_user as
with lost as (
    select
        user_code,
        count(*) as n
    from event
    where item_code in (select item_code from dropped_item)
    group by user_code
)

select
    live.user_code,
    live.n - coalesce(lost.n, 0) as n
from live_user as live
left join lost on live.user_code = lost.user_code
