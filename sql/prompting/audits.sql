-- one row per model and probe that was audited on the dataset; null is any dataset
select *
from model_audits
where $dataset::varchar is null or $dataset in (dataset, dataset || '/' || split)
order by dataset, split, provider, model, probe
