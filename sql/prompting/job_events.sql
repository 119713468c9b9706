-- one row per step of a job, oldest first
select
    happened_at,
    status,
    message
from core.job_event
where job_id = $job_id
order by happened_at, rowid
