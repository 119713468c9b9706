-- one row per block of consecutive sessions that hold about $size interactions together
select
    min(session_id) as first,
    max(session_id) as last
from (
    select
        session_id,
        (sum(length) over (order by session_id) - length) // $size as block
    from kept_session
)
group by block
order by block
