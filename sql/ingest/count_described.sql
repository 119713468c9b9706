-- one row: items with interactions, how many of them the metadata describes, and how many it would describe if some
-- differences in writing did not count
with items as (
    select distinct item_id
    from staged_interaction
),

described as (
    select distinct item_id
    from staged_item
),

spelt as (
    select
        item_id,
        regexp_replace(item_id, '\.0+$', '') as without_fraction,
        lower(item_id) as without_case,
        lower(regexp_replace(item_id, '[\s_-]+', '', 'g')) as without_space
    from described
)

select
    count(*) as items,
    count(*) filter (where item_id in (select item_id from described)) as described,
    count(*) filter (
        where
        regexp_replace(item_id, '\.0+$', '') in (select without_fraction from spelt)
    ) as without_fraction,
    count(*) filter (
        where
        ltrim(item_id, '0') in (select ltrim(item_id, '0') from described)
    ) as without_zeros,
    count(*) filter (where lower(item_id) in (select without_case from spelt)) as without_case,
    count(*) filter (
        where
        lower(regexp_replace(item_id, '[\s_-]+', '', 'g')) in (select without_space from spelt)
    ) as without_space
from items
