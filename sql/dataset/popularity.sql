-- one row per tenth of the catalog, the most popular items first: its share of all interactions
with ranked as (
    select
        popularity,
        ntile(10) over (order by popularity desc, item_id asc) as tenth
    from core.item
    where dataset_id = $dataset_id
)

select
    tenth,
    count(*) as items,
    min(popularity) as least,
    max(popularity) as most,
    sum(popularity) / (select sum(popularity) from ranked) as share
from ranked
group by tenth
order by tenth
