-- What more is known of a trial than its settings and value.

alter table core.trial add column inputs json;
alter table core.trial add column folds double[];
alter table core.trial add column seconds double;
alter table core.trial add column started_at timestamp;
alter table core.trial add column ended_at timestamp;
alter table core.trial add column error varchar;

-- one row per trial that has ended: complete, pruned or fail; value is the mean NDCG@20 of the folds that it ran
create or replace view trials as
select
    t.study,
    t.trial,
    d.name as dataset,
    t.model,
    t.settings,
    t.value,
    t.state,
    t.inputs ->> 'embeddings' as embeddings,
    t.inputs ->> 'reduce' as reduce,
    (t.inputs ->> 'dim')::integer as dim,
    t.folds,
    t.seconds,
    t.started_at,
    t.ended_at,
    t.error
from core.trial as t
inner join core.dataset as d on t.dataset_id = d.dataset_id;
