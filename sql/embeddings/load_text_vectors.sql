-- one row per number of every vector of a range of items, by item and place within it
select
    item_id,
    unnest(vector) as value
from (
    select
        t.item_id,
        c.vector
    from core.item_text as t
    inner join core.embedding as e on t.embedding_id = e.embedding_id
    inner join core.text_vector as c on e.model_id = c.model_id and t.text_hash = c.text_hash
    where
        t.embedding_id = $embedding_id
        and t.item_id between $first and $last
    union all
    select
        item_id,
        vector
    from core.item_vector
    where
        embedding_id = $embedding_id
        and item_id between $first and $last
    order by item_id
)
