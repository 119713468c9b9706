-- one row: how many interactions repeat the user, item and time of another; of many only a part is looked at
select count(*) - count(distinct hash(user_id, item_id, time)) as repeated
from staged_interaction
where hash(user_id) % $step::ubigint = 0
