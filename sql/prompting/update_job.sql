-- one row changes: what is known of a job now; null leaves a column as it is
update core.job
set
    status = $status,
    remote_id = coalesce($remote_id, remote_id),
    model = coalesce($model, model),
    training_file_id = coalesce($training_file_id, training_file_id),
    validation_file_id = coalesce($validation_file_id, validation_file_id),
    cost_usd = coalesce($cost_usd, cost_usd),
    updated_at = $now
where job_id = $job_id
