-- one row per session: the last ones in time are held out whole, the others are trained on whole. The first
-- $in_training sessions stay in training.
create or replace temp table split_cut as
select
    session_id,
    case when session_id < $in_training then length else 0 end as train_length,
    null::integer as valid_from,
    null::integer as valid_to,
    case when session_id >= $in_training then 1 end as test_from,
    case when session_id >= $in_training then length end as test_to
from core.session
where dataset_id = $dataset_id
