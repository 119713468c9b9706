-- one row: a batch that is about to be uploaded
insert into core.embedding_batch (model_id, dataset_id, state, token, created_at, updated_at)
values ($model_id, $dataset_id, 'prepared', $token, $now, $now)
returning batch_number
