-- one row per evaluated case: how many items its history has, and how often the last of them occurs in training
with counted as (
    select
        case_id,
        train_popularity,
        row_number() over (partition by case_id order by position desc) as from_end,
        count(*) over (partition by case_id) as items
    from core.case_item
    where split_id = $split_id
)

select
    case_id,
    items - 1 as length,
    train_popularity as popularity
from counted
where from_end = 2
order by case_id
