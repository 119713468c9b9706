-- one row per run of a dataset with this model and seed, the newest first: its name, settings and embeddings
select
    name,
    settings,
    embeddings
from core.run
where dataset_id = $dataset_id and model = $model and seed = $seed and depth = $depth
order by run_id desc
