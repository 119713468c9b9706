-- one row per session: its last item is the test target, the one before it the validation target, and what stands
-- before both is trained on. Sessions of fewer than three items are trained on whole, and not evaluated.
create or replace temp table split_cut as
select
    session_id,
    if(length < 3, length, length - 2) as train_length,
    if(length < 3, null, length - 1)::integer as valid_from,
    if(length < 3, null, length - 1)::integer as valid_to,
    if(length < 3, null, length)::integer as test_from,
    if(length < 3, null, length)::integer as test_to
from core.session
where dataset_id = $dataset_id
