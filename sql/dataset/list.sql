-- one row per dataset
with splits as (
    select
        dataset,
        list(split order by split) as splits
    from dataset_splits
    group by dataset
),

times as (
    select
        named.name as dataset,
        min(x.time) as first_time,
        max(x.time) as last_time
    from core.interaction as x
    inner join core.dataset as named on x.dataset_id = named.dataset_id
    group by named.name
)

select
    d.dataset as name,
    d.sessions,
    d.items,
    d.interactions,
    d.evaluated_sessions,
    d.tie_break,
    d.unseen_items,
    t.first_time,
    t.last_time,
    s.splits,
    d.ingested_at
from datasets as d
inner join splits as s on d.dataset = s.dataset
inner join times as t on d.dataset = t.dataset
order by d.dataset
