-- one row: what making a set took, and whether it is the dataset's newest; none where its items have other texts
-- than in text_columns
with kept as (
    select
        item_id,
        text_hash
    from core.item_text
    where embedding_id = $embedding_id
),

differing as (
    select count(*) as items
    from kept
    full join text_columns as made on kept.item_id = made.item_id and kept.text_hash = made.text_hash
    where kept.item_id is null or made.item_id is null
)

select
    e.usage,
    e.embedding_id = (
        select max(o.embedding_id)
        from core.embedding as o
        where o.dataset_id = e.dataset_id
    ) as newest
from core.embedding as e
cross join differing as d
where e.embedding_id = $embedding_id and d.items = 0
