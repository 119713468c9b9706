-- one row per evaluated session: how many items its prompt has, and how often the last of them occurs in training
with known as (
    select
        x.session_id,
        i.train_popularity,
        row_number() over (partition by x.session_id order by x.position desc) as from_end,
        count(*) over (partition by x.session_id) as items
    from core.interaction as x
    inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
    inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
    where
        x.dataset_id = $dataset_id
        and s.ground_truth is not null
        and i.train_popularity > 0
)

select
    session_id,
    items - 1 as length,
    train_popularity as popularity
from known
where from_end = 2
order by session_id
