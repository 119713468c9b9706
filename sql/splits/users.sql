-- one row per session: $held_out of them, by the md5 of name and seed, are tested, the next $validated are validated
-- on, the others are trained on whole
create or replace temp table split_cut as
with drawn as (
    select
        session_id,
        length,
        row_number() over (order by md5(external_id || ':' || $seed), session_id) as place
    from core.session
    where dataset_id = $dataset_id
),

placed as (
    select
        *,
        place <= $held_out as is_test,
        place between $held_out + 1 and $held_out + $validated as is_valid
    from drawn
)

select
    session_id,
    if(is_test or is_valid, 0, length) as train_length,
    if(is_valid, 1, null)::integer as valid_from,
    if(is_valid, length, null)::integer as valid_to,
    if(is_test, 1, null)::integer as test_from,
    if(is_test, length, null)::integer as test_to
from placed
