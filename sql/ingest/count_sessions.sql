-- one row: the sessions that users were cut into, and the users
select
    count(distinct user_id) as sessions,
    count(distinct regexp_replace(user_id, ':\d+$', '')) as users
from staged_interaction
