-- one row per session: what happened before $point is trained on, what happened from then on is tested.
-- $validation: "latest" (models hold sessions of their training data out), "last" (the last item before the point is
-- the validation target) or "users" (of the sessions that reach into training, $held_out have a part before the point
-- that is validated on as a whole, and not trained on)
create or replace temp table split_cut as
with before as (
    select
        session_id,
        max(position) as n
    from core.interaction
    where dataset_id = $dataset_id and time < $point
    group by session_id
),

drawn as (
    select session_id
    from core.session
    where dataset_id = $dataset_id and $validation = 'users' and session_id in (select session_id from before)
    order by md5(external_id || ':' || $seed)
    limit $held_out
),

placed as (
    select
        s.session_id,
        s.length,
        coalesce(b.n, 0) as n,
        d.session_id is not null as is_drawn,
        $validation = 'last' and coalesce(b.n, 0) >= 2 as keeps_last
    from core.session as s
    left join before as b on s.session_id = b.session_id
    left join drawn as d on s.session_id = d.session_id
    where s.dataset_id = $dataset_id
)

select
    session_id,
    if(is_drawn, 0, n - keeps_last::integer)::integer as train_length,
    case
        when is_drawn then 1
        when keeps_last then n
    end::integer as valid_from,
    if(is_drawn or keeps_last, n, null)::integer as valid_to,
    if(n < length, n + 1, null)::integer as test_from,
    if(n < length, length, null)::integer as test_to
from placed
