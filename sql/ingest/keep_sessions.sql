-- one row per session that stays: its id counts up with the time of its last interaction (ties by the md5 of its name)
create or replace temp table kept_session as
with lengths as (
    select
        user_code,
        count(*)::integer as length,
        max(time) as last_time
    from event
    where item_code in (select item_code from live_item)
    group by user_code
    -- whoever fell out of the k-core has fewer interactions than that with the items that stayed
    having count(*) >= $least
)

select
    lengths.user_code,
    names.user_id as external_id,
    (row_number() over (order by lengths.last_time, md5(names.user_id)) - 1)::integer as session_id,
    lengths.length
from lengths
inner join user_name as names on lengths.user_code = names.user_code
