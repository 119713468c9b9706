-- one row per session: the last ones in time are held out whole, the others are trained on whole. The first $leading
-- sessions stay in training.
create or replace temp table split_cut as
select
    session_id,
    if(session_id < $leading, length, 0) as train_length,
    null::integer as valid_from,
    null::integer as valid_to,
    if(session_id < $leading, null, 1)::integer as test_from,
    if(session_id < $leading, null, length)::integer as test_to
from core.session
where dataset_id = $dataset_id
