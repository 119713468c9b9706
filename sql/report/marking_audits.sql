-- one row per language model and probe whose answers it could only remember, by dataset
select
    p.name as dataset,
    a.provider,
    a.model,
    a.probe,
    a.recited / a.asked as share
from core.model_audit as a
inner join core.protocol as p on a.split_id = p.split_id
where a.marks
order by p.name, a.provider, a.model, a.probe
