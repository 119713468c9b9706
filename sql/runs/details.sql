-- one row: a run with all that is kept of it beside its lists
select
    r.run_id,
    r.name as run,
    d.name as dataset,
    r.model,
    r.label,
    r.seed,
    r.settings,
    r.embeddings,
    r.environment,
    r.figures,
    r.sessions,
    r.list_length,
    r.started_at,
    (d.statistics ->> 'evaluated_sessions')::integer as dataset_sessions
from core.run as r
inner join core.protocol as d on r.split_id = d.split_id
where r.run_id = $run_id
