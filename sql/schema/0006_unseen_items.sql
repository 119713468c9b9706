-- Items that training has never seen may stay in the test sessions, if the dataset's protocol keeps them.

-- one row per item of a test session that counts; the last one of an evaluated session is its ground truth, those
-- before it are the prompt. Items that never occur in training are among them only where the dataset keeps them
create view core.test_item as
select
    x.dataset_id,
    x.session_id,
    x.position,
    x.item_id,
    i.train_popularity,
    s.ground_truth
from core.interaction as x
inner join core.dataset as d on x.dataset_id = d.dataset_id
inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
where
    s.part = 'test'
    and (i.train_popularity > 0 or d.protocol ->> 'unseen_items' = 'keep');

-- one row per dataset; unseen_items: what happens to items of test sessions that never occur in training
create or replace view datasets as
select
    d.name as dataset,
    d.ingested_at,
    s.*,
    d.protocol,
    d.source
from core.dataset as d,
    lateral (
        select
            (d.statistics ->> 'sessions')::bigint as sessions,
            (d.statistics ->> 'items')::bigint as items,
            (d.statistics ->> 'interactions')::bigint as interactions,
            (d.statistics ->> 'classes')::bigint as classes,
            (d.statistics ->> 'average_length')::double as average_length,
            (d.statistics ->> 'density')::double as density,
            d.protocol ->> 'tie_break' as tie_break,
            coalesce(d.protocol ->> 'unseen_items', 'drop') as unseen_items,
            (d.statistics ->> 'ties_at_end')::double as ties_at_end,
            (d.statistics ->> 'train_sessions')::bigint as train_sessions,
            (d.statistics ->> 'test_sessions')::bigint as test_sessions,
            (d.statistics ->> 'evaluated_sessions')::bigint as evaluated_sessions,
            (d.statistics ->> 'train_items')::bigint as train_items,
            (d.statistics ->> 'rejected')::bigint as rejected
    ) as s;

-- one row per item of a dataset; train_popularity counts its interactions in training sessions
create or replace view items as
select
    d.name as dataset,
    i.external_id as item,
    i.title,
    i.category,
    i.popularity,
    i.title as text,
    i.fields,
    i.train_popularity
from core.item as i
inner join core.dataset as d on i.dataset_id = d.dataset_id;
