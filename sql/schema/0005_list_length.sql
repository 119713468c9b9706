-- How many items a list holds has one name, that of the option.
alter table core.run rename column depth to list_length;

-- one row per run; its name is the model's name and a number
create or replace view runs as
select
    r.name as run,
    d.dataset,
    r.model,
    r.label,
    r.settings,
    r.seed,
    r.status,
    r.embeddings,
    r.figures,
    r.environment,
    r.sessions,
    r.list_length,
    r.started_at,
    d.split
from core.run as r
inner join core.protocol as d on r.split_id = d.split_id;
