-- one row: how many items of a set have a vector that is not kept any more, not as wide as the set or not finite
with vectors as (
    select c.vector
    from core.item_text as t
    inner join core.embedding as e on t.embedding_id = e.embedding_id
    left join core.text_vector as c on e.model_id = c.model_id and t.text_hash = c.text_hash
    where
        t.embedding_id = $embedding_id
        and t.text_hash is not null
    union all
    select vector
    from core.item_vector
    where embedding_id = $embedding_id
)

select count(*) as items
from vectors
where
    vector is null
    or len(vector) <> $dimensions
    or list_count(vector) <> $dimensions
    or not isfinite(list_sum(vector))
