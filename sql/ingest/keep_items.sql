-- one row per item that stays: its id counts up with its external id
create or replace temp table kept_item as
with remaining as (
    select
        item_code,
        count(*) as popularity
    from event
    where
        user_code in (select user_code from kept_session)
        and item_code in (select item_code from live_item)
    group by item_code
)

select
    remaining.item_code,
    names.item_id as external_id,
    (row_number() over (order by names.item_id) - 1)::integer as item_id,
    remaining.popularity
from remaining
inner join item_name as names on remaining.item_code = names.item_code
