-- one row per dataset
select
    dataset as name,
    sessions,
    items,
    interactions,
    evaluated_sessions,
    tie_break,
    unseen_items,
    ingested_at
from datasets
order by name
