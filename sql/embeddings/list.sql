-- one row per set of item embeddings, the newest last
select
    e.embedding_id as number,
    d.name as dataset,
    e.source,
    e.model,
    e.text,
    e.dimensions,
    e.sparse,
    count(v.item_id) as items,
    e.seconds,
    e.created_at
from core.embedding as e
inner join core.dataset as d on e.dataset_id = d.dataset_id
left join core.item_vector as v on e.embedding_id = v.embedding_id
where $dataset::varchar is null or d.name = $dataset
group by all
order by e.embedding_id
