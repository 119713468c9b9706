-- one row per run: what it is and what it cost; the metrics are joined to it by run
select
    r.run_id,
    r.name as run,
    r.model,
    r.label,
    d.name as dataset,
    d.split,
    d.protocol ->> 'repeats' as repeats_allowed,
    d.protocol ->> 'tie_break' as tie_break,
    r.embeddings ->> 'source' as embeddings,
    r.embeddings ->> 'model' as embeddings_model,
    r.embeddings ->> 'text' as text,
    r.embeddings ->> 'reduce' as reduce,
    (r.embeddings ->> 'dim')::integer as dim,
    coalesce((r.embeddings ->> 'permuted')::boolean, false) as permuted,
    r.seed,
    r.sessions,
    (d.statistics ->> 'evaluated_sessions')::integer as dataset_sessions,
    r.list_length,
    r.settings,
    (r.figures ->> 'train_seconds')::double as train_seconds,
    coalesce((r.figures ->> 'epochs')::integer, 0) as epochs,
    coalesce((r.figures ->> 'positions_per_second')::double, 0) as positions_per_second,
    (r.figures ->> 'score_seconds')::double as score_seconds,
    (r.figures ->> 'peak_memory_mb')::double as peak_memory_mb,
    r.started_at
from core.run as r
inner join core.protocol as d on r.split_id = d.split_id
where $dataset::varchar is null or $dataset in (d.name, d.dataset, d.dataset || '/' || d.split, '/' || d.split)
order by r.run_id
