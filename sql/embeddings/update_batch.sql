-- one row: a batch in its new state
update core.embedding_batch
set
    state = $state,
    file_id = coalesce($file_id, file_id),
    batch_id = coalesce($batch_id, batch_id),
    updated_at = $now
where batch_number = $batch_number
