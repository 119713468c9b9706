-- one row per user still in the k-core, with the interactions left to it
create or replace temp table live_user as
select
    user_code,
    count(*) as n
from event
group by user_code
