-- one row per session
insert into core.session
select
    $dataset_id,
    session_id,
    external_id,
    length
from kept_session
order by session_id
