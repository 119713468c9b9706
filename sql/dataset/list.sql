-- one row per dataset
select
    dataset as name,
    sessions,
    items,
    interactions,
    evaluated_sessions,
    tie_break,
    unseen_items,
    splits,
    ingested_at
from datasets
inner join (
    select
        dataset,
        string_agg(split, ', ' order by made_at, split) as splits
    from dataset_splits
    group by dataset
) using (dataset)
order by name
