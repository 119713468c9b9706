-- one row: the job whose files have just been built, with its number
insert into core.job (
    dataset_id, split_id, task, provider, base_model, status, file_hash, settings, token, address, figures, created_at,
    updated_at
)
values (
    $dataset_id, $split_id, $task, $provider, $base_model, 'prepared', $file_hash, $settings, $token, $address,
    $figures, $now, $now
)
returning job_id
