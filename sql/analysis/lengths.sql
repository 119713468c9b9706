-- one row per length of a session: how many have it
select
    length,
    count(*) as sessions
from core.session
where dataset_id = $dataset_id
group by length
order by length
