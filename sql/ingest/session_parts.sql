-- one row per session of a block: how many of its interactions stand in each part of the input
insert into session_parts
select
    session_id,
    count(*) filter (where part = 1) as train,
    count(*) filter (where part = 2) as valid,
    count(*) filter (where part = 3) as test
from kept_interaction
group by session_id
