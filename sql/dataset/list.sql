-- one row per dataset
with splits as (
    select
        dataset,
        list(split order by split) as splits
    from dataset_splits
    group by dataset
)

select
    d.dataset as name,
    d.sessions,
    d.items,
    d.interactions,
    d.evaluated_sessions,
    d.tie_break,
    d.unseen_items,
    s.splits,
    d.ingested_at
from datasets as d
inner join splits as s on d.dataset = s.dataset
order by d.dataset
