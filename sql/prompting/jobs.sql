-- one row per fine-tuning job that the conditions leave, oldest first; null sets no condition
select
    j.job_id,
    j.name as job,
    -- a dataset that was removed has no name any more; its jobs were paid for all the same
    coalesce(d.name, 'removed') as dataset,
    j.dataset_id,
    j.split_id,
    j.task,
    j.provider,
    coalesce(j.address, '') as address,
    j.base_model,
    j.remote_id,
    j.model,
    j.status,
    j.file_hash,
    coalesce(j.token, '') as token,
    j.training_file_id,
    j.validation_file_id,
    j.settings,
    j.figures,
    j.cost_usd,
    j.created_at,
    j.updated_at
from core.job as j
left join core.protocol as d on j.split_id = d.split_id
where
    ($dataset::varchar is null or $dataset in (d.name, d.dataset, d.dataset || '/' || d.split, '/' || d.split))
    and ($file_hash::varchar is null or j.file_hash = $file_hash)
order by j.job_id
