-- one row per user that falls out of the k-core in this round
create or replace temp table dropped_user as
select user_code
from live_user
where n < $k
