-- one row per set of item embeddings, the newest last
with own as (
    select
        embedding_id,
        count(*) as items
    from core.item_text
    where text_hash is not null
    group by embedding_id
),

stored as (
    select
        embedding_id,
        count(*) as items
    from core.item_vector
    group by embedding_id
)

select
    e.embedding_id as number,
    d.name as dataset,
    e.source,
    e.model,
    e.template as text,
    e.dimensions,
    e.sparse,
    coalesce(own.items, 0) + coalesce(stored.items, 0) as items,
    if(e.model_id is null, 0, coalesce(stored.items, 0)) as filled,
    (e.usage ->> 'tokens')::bigint as tokens,
    (e.usage ->> 'cost_usd')::double as cost_usd,
    e.seconds,
    e.created_at
from core.embedding as e
inner join core.dataset as d on e.dataset_id = d.dataset_id
left join own on e.embedding_id = own.embedding_id
left join stored on e.embedding_id = stored.embedding_id
where $dataset::varchar is null or d.name = $dataset
order by e.embedding_id
