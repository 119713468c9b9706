-- one row per session: the last ones are the test part, the training sessions fall into equal temporal bins
insert into core.session (dataset_id, session_id, external_id, part, bin, length)
select
    $dataset_id,
    session_id,
    external_id,
    case when session_id < $train_sessions then 'train' else 'test' end,
    case
        when session_id < $train_sessions
            then (ntile($bins) over (partition by session_id < $train_sessions order by session_id))::utinyint
    end,
    length
from kept_session
order by session_id
