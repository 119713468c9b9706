-- one row per session: what stood in the file of each part. Sessions are in the order of the parts, then of time.
create or replace temp table split_cut as
select
    s.session_id,
    coalesce(p.train, 0)::integer as train_length,
    if(p.valid > 0, p.train + 1, null)::integer as valid_from,
    if(p.valid > 0, p.train + p.valid, null)::integer as valid_to,
    if(p.test > 0, p.train + p.valid + 1, null)::integer as test_from,
    if(p.test > 0, p.train + p.valid + p.test, null)::integer as test_to
from core.session as s
inner join session_parts as p on s.session_id = p.session_id
where s.dataset_id = $dataset_id
