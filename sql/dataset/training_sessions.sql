-- one row per session that a split trains on, in their order: how many of its leading interactions
select
    session_id,
    train_length
from core.split_session
where split_id = $split_id and place is not null
order by place
