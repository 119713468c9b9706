-- one row: a set of item embeddings
insert into core.embedding (dataset_id, source, model, template, dimensions, sparse, settings, created_at, seconds)
values ($dataset_id, $source, $model, $text, $dimensions, $sparse, $settings, $created_at, $seconds)
returning embedding_id
