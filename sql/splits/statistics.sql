-- one row: what is counted of a split once, when it is made
with sessions as (
    select
        count(*) filter (where train_length > 0) as train_sessions,
        sum(train_length) as train_interactions,
        count(*) filter (where part in ('test', 'both')) as test_sessions
    from core.split_session
    where split_id = $split_id
),

targets as (
    select
        count(*) filter (where part = 'test') as evaluated_sessions,
        count(*) filter (where part = 'validation') as validation_sessions
    from core.target
    where split_id = $split_id
),

items as (
    select count(*) filter (where train_popularity > 0) as train_items
    from core.split_item
    where split_id = $split_id
)

select
    sessions.train_sessions,
    sessions.train_interactions,
    sessions.test_sessions,
    targets.evaluated_sessions,
    targets.validation_sessions,
    items.train_items
from sessions, targets, items
