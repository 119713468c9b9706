-- one row per run of a split with this model and seed, the newest first: its name, settings and embeddings
select
    name,
    settings,
    embeddings
from core.run
where split_id = $split_id and model = $model and seed = $seed and list_length = $list_length
order by run_id desc
