-- one row per class of items ('' for items without one): how many of its items have a vector, and their mean
with numbers as (
    select
        coalesce(i.category, '') as category,
        unnest(c.vector)::double as value,
        generate_subscripts(c.vector, 1) as place
    from core.item_text as t
    inner join core.embedding as e on t.embedding_id = e.embedding_id
    inner join core.item as i on e.dataset_id = i.dataset_id and t.item_id = i.item_id
    inner join core.text_vector as c on e.model_id = c.model_id and t.text_hash = c.text_hash
    where t.embedding_id = $embedding_id
),

means as (
    select
        category,
        place,
        count(*) as items,
        favg(value) as value
    from numbers
    group by category, place
)

select
    category,
    max(items) as items,
    list(value order by place) as vector
from means
group by category
order by category
