-- one row per set of embeddings that the words may mean, the newest first
select
    embedding_id,
    source,
    model,
    template,
    dimensions,
    sparse,
    settings
from core.embedding
where
    dataset_id = $dataset_id
    and (
        embedding_id = $number
        or (source = $source and ($model::varchar is null or model = $model))
    )
order by embedding_id desc
