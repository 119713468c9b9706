-- one row per run: what it is and what it cost; the metrics are joined to it by run
select
    r.run_id,
    r.name as run,
    r.model,
    r.label,
    d.name as dataset,
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
    r.depth,
    r.settings,
    (r.figures ->> 'train_seconds')::double as train_seconds,
    coalesce((r.figures ->> 'epochs')::integer, 0) as epochs,
    coalesce((r.figures ->> 'positions_per_second')::double, 0) as positions_per_second,
    (r.figures ->> 'score_seconds')::double as score_seconds,
    (r.figures ->> 'peak_memory_mb')::double as peak_memory_mb,
    r.started_at
from core.run as r
inner join core.dataset as d on r.dataset_id = d.dataset_id
where $dataset::varchar is null or d.name = $dataset
order by r.run_id
