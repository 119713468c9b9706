-- one row per stored set of embeddings that a run may have been trained with, those of its dimensions first, then the
-- newest
select embedding_id
from core.embedding
where dataset_id = $dataset_id and source = $source and model = $model and template = $text
order by (dimensions = $dim) desc, embedding_id desc
