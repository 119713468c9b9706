-- one row per set of embeddings made of the same texts by the same model; dense ones of as many dimensions
select embedding_id
from core.embedding
where
    dataset_id = $dataset_id
    and source = $source
    and model = $model
    and model_id is not distinct from $model_id::bigint
    and template = $text
    and (sparse or $sparse or dimensions = $dimensions)
