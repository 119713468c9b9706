-- one row per evaluated session: how many items its prompt has, and how often the last of them occurs in training
with counted as (
    select
        session_id,
        train_popularity,
        row_number() over (partition by session_id order by position desc) as from_end,
        count(*) over (partition by session_id) as items
    from core.test_item
    where
        dataset_id = $dataset_id
        and ground_truth is not null
)

select
    session_id,
    items - 1 as length,
    train_popularity as popularity
from counted
where from_end = 2
order by session_id
