-- one row per batch that was prepared and never handed over: it is under way no more
update core.embedding_batch
set
    state = 'lost',
    updated_at = $now
where
    model_id = $model_id
    and state = 'prepared'
