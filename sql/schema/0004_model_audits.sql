-- one row per split, language model and probe of its memory: what the newest audit found
create table core.model_audit (
    dataset_id integer not null,
    split_id integer not null,
    provider varchar not null,
    model varchar not null,
    -- title, id, session or history
    probe varchar not null,
    asked integer not null,
    recited integer not null,
    control_asked integer not null,
    control_recited integer not null,
    -- interval of recited / asked - control_recited / control_asked
    low double not null,
    high double not null,
    -- the interval lies above 0
    recites boolean not null,
    -- and the answers are of this dataset alone: runs of the model are marked
    marks boolean not null,
    audited_at timestamp not null
);

-- one row per split, language model and probe of its memory
create view model_audits as
select
    d.dataset,
    d.split,
    a.provider,
    a.model,
    a.probe,
    a.asked,
    a.recited,
    a.control_asked,
    a.control_recited,
    a.recited / a.asked as share,
    a.control_recited / a.control_asked as control_share,
    a.low as excess_low,
    a.high as excess_high,
    a.recites,
    a.marks,
    a.audited_at
from core.model_audit as a
inner join core.protocol as d on a.split_id = d.split_id;
