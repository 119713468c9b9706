-- no row: batches that were prepared and never handed over are under way no more
update core.embedding_batch
set
    state = 'lost',
    updated_at = $now
where
    model_id = $model_id
    and state = 'prepared'
