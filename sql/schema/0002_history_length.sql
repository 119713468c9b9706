-- What a session holds before the item to predict is its history; "prompt" is kept for language models.
alter table core.target rename column prompt_length to history_length;

-- one row per case that is tested: a session and the item to predict. name: the session's, and the item's place where
-- the session has several cases
create or replace view core.test_case as
select
    t.split_id,
    t.case_id,
    p.dataset_id,
    t.session_id,
    s.external_id,
    t.position,
    t.history_length,
    t.item_id as ground_truth,
    s.external_id || if(t.case_id = t.session_id, '', '#' || t.position) as name
from core.target as t
inner join core.split as p on t.split_id = p.split_id
inner join core.session as s on p.dataset_id = s.dataset_id and t.session_id = s.session_id
where t.part = 'test';

-- one row per item of a case that is tested that counts: the last one is the ground truth, those before it are the
-- history. Items that are never trained on are among them only where the split keeps them
create or replace view core.case_item as
select
    c.split_id,
    c.dataset_id,
    c.case_id,
    c.external_id,
    x.session_id,
    x.position,
    x.item_id,
    i.train_popularity,
    c.ground_truth
from core.test_case as c
inner join core.split as p on c.split_id = p.split_id
inner join core.interaction as x
    on
        c.dataset_id = x.dataset_id
        and c.session_id = x.session_id
        and (c.history_length >= x.position or c.position = x.position)
inner join core.split_item as i on c.split_id = i.split_id and x.item_id = i.item_id
where i.train_popularity > 0 or p.rule ->> 'unseen_items' = 'keep';

-- one row per item to predict
create or replace view targets as
select
    d.dataset,
    d.split,
    t.part,
    s.external_id as session,
    t.position,
    i.external_id as item,
    t.history_length
from core.target as t
inner join core.protocol as d on t.split_id = d.split_id
inner join core.session as s on d.dataset_id = s.dataset_id and t.session_id = s.session_id
inner join core.item as i on d.dataset_id = i.dataset_id and t.item_id = i.item_id;
