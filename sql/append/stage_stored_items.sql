-- one row per described item of the dataset before it grows, then one per description that waited with its item, then
-- one per new description; in this order: the first description of an item counts
create or replace temp table staged_item as
with together as (
    select
        external_id as item_id,
        title,
        category,
        fields,
        0 as part_of,
        item_id as place
    from core.item
    where dataset_id = $dataset_id and (title is not null or category is not null or fields is not null)
    union all by name
    select
        item_id,
        title,
        category,
        fields,
        1 as part_of,
        rowid as place
    from core.waiting_item
    where dataset_id = $dataset_id
    union all by name
    select
        item_id,
        title,
        category,
        fields,
        2 as part_of,
        rowid as place
    from staged_item
)

select
    item_id,
    title,
    category,
    fields
from together
order by part_of, place
