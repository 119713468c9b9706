-- one row: what is counted of a dataset once, when it is ingested
with sessions as (
    select
        count(*) as sessions,
        sum(length) as interactions
    from core.session
    where dataset_id = $dataset_id
),

items as (
    select
        count(*) as items,
        count(distinct category) as classes,
        count(*) filter (where title is null) as untitled_items
    from core.item
    where dataset_id = $dataset_id
),

endings as (
    select avg((tied and length > 1)::integer) as ties_at_end
    from (
        select
            x.session_id,
            count(*) filter (where x.position >= s.length - 1) as length,
            max(x.time) filter (where x.position = s.length)
            = max(x.time) filter (where x.position = s.length - 1) as tied
        from core.interaction as x
        inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
        where
            x.dataset_id = $dataset_id
            and x.position >= s.length - 1
        group by x.session_id
    )
)

select
    sessions.*,
    items.*,
    sessions.interactions / sessions.sessions as average_length,
    sessions.interactions / (sessions.sessions * items.items) as density,
    coalesce(endings.ties_at_end, 0) as ties_at_end
from sessions, items, endings
