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
)

select
    $dataset_id,
    kept.item_id,
    kept.external_id,
    described.title,
    described.category,
    described.fields,
    kept.popularity
from kept_item as kept
left join described on kept.external_id = described.item_id
order by kept.item_id
