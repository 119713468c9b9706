-- one row per item, with the first description that the input gives of it
insert into core.item
with described as (
    select
        item_id,
        title,
        category,
        fields
    from staged_item
    where rowid in (
        select min(rowid)
        from staged_item
        group by item_id
    )
),

train as (
    select
        item_id,
        count(*) as n
    from core.interaction
    where dataset_id = $dataset_id and session_id < $train_sessions
    group by item_id
)

select
    $dataset_id,
    kept.item_id,
    kept.external_id,
    described.title,
    described.category,
    described.fields,
    kept.popularity,
    coalesce(train.n, 0)
from kept_item as kept
left join described on kept.external_id = described.item_id
left join train on kept.item_id = train.item_id
order by kept.item_id
