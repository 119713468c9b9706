-- one row per session: how many of its interactions stand in each part of the input
create or replace temp table session_parts as
select
    s.session_id,
    count(*) filter (where e.part = 1) as train,
    count(*) filter (where e.part = 2) as valid,
    count(*) filter (where e.part = 3) as test
from event as e
inner join kept_session as s on e.user_code = s.user_code
inner join kept_item as i on e.item_code = i.item_code
group by s.session_id
