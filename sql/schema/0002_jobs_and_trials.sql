-- What fine-tuning and tuning keep: jobs and their answers, studies and their trials.

create sequence core.job_number;

-- one row per fine-tuning job, from the moment its files are built
create table core.job (
    job_id integer primary key default nextval('core.job_number'),
    dataset_id integer not null,
    task varchar not null,
    provider varchar not null,
    base_model varchar not null,
    -- the provider's id of the job and of the model that it made; null until they exist
    remote_id varchar,
    model varchar,
    status varchar not null,
    -- sha256 of the training file: the same file is not submitted twice
    file_hash varchar not null,
    settings json not null,
    cost_usd double,
    created_at timestamp not null,
    updated_at timestamp not null
);

-- one row per answer of a language model to the prompt of a session
create table core.answer (
    run_id integer not null,
    session_id integer not null,
    sample smallint not null,
    -- a list of items has one row per place in it
    place smallint not null,
    text varchar not null,
    item_id integer,
    similarity float,
    kind varchar not null
);

-- one row per configuration that tuning tried
create table core.trial (
    study varchar not null,
    trial integer not null,
    dataset_id integer not null,
    model varchar not null,
    settings json not null,
    value double,
    state varchar not null
);

-- one row per fine-tuning job
create view jobs as
select
    j.task || '-' || j.job_id as job,
    d.name as dataset,
    j.task,
    j.provider,
    j.remote_id,
    j.status,
    j.model,
    j.base_model,
    j.settings,
    j.cost_usd,
    j.created_at,
    j.updated_at
from core.job as j
inner join core.dataset as d on j.dataset_id = d.dataset_id;

-- one row per answer (for lists: per item of the answer)
create view answers as
select
    r.model || '-' || r.run_id as run,
    s.external_id as session,
    a.sample,
    a.place,
    a.text,
    i.external_id as item,
    a.similarity,
    a.kind
from core.answer as a
inner join core.run as r on a.run_id = r.run_id
inner join core.session as s on r.dataset_id = s.dataset_id and a.session_id = s.session_id
left join core.item as i on r.dataset_id = i.dataset_id and a.item_id = i.item_id;

-- one row per trial of a study
create view trials as
select
    t.study,
    t.trial,
    d.name as dataset,
    t.model,
    t.settings,
    t.value,
    t.state
from core.trial as t
inner join core.dataset as d on t.dataset_id = d.dataset_id;
