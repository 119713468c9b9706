-- one row per session of a split: what it is for, how many of its leading interactions are trained on, and its place
-- among the training sessions. These are in the order of the last interaction that is trained on, as the sessions of
-- the dataset are in that of their last one, and fall into equal temporal bins.
insert into core.split_session
with ends as (
    select
        c.session_id,
        c.train_length,
        case
            when c.train_length > 0 and c.test_from is not null then 'both'
            when c.train_length > 0 then 'train'
            when c.test_from is not null then 'test'
            when c.valid_from is not null then 'validation'
            else 'none'
        end as part,
        s.external_id,
        x.time
    from split_cut as c
    inner join core.session as s on s.dataset_id = $dataset_id and c.session_id = s.session_id
    left join core.interaction as x
        on x.dataset_id = $dataset_id and c.session_id = x.session_id and c.train_length = x.position
),

placed as (
    select
        session_id,
        part,
        train_length,
        row_number() over (partition by train_length > 0 order by time, md5(external_id)) - 1 as place
    from ends
)

select
    $split_id,
    session_id,
    part,
    if(train_length > 0, ntile($bins) over (partition by train_length > 0 order by place), null)::utinyint,
    train_length,
    if(train_length > 0, place, null)::integer
from placed
order by session_id
