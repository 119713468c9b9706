-- What LLMSeqPrompt remembers: jobs in full, each of their steps, and every answer as it came, before it becomes a run.

-- goes with the job as metadata: it is found again even where the provider's id was never heard
alter table core.job add column token varchar;
-- whose service: a server's address, a project and region
alter table core.job add column address varchar;
alter table core.job add column training_file_id varchar;
alter table core.job add column validation_file_id varchar;
-- counts of examples and tokens, what was left out, what the job is expected to cost
alter table core.job add column figures json;

-- one row per step of a job, from building its files on: what happened, in words, and the state that it led to
create table core.job_event (
    job_id integer not null,
    happened_at timestamp not null,
    status varchar not null,
    message varchar not null
);

create sequence core.asking_number;

-- one row per way to ask a model for recommendations; runs are made of its replies
create table core.asking (
    asking_id integer primary key default nextval('core.asking_number'),
    dataset_id integer not null,
    -- sha256 of all that decides what is asked and how: task, provider, address, model, template, sampling
    digest varchar not null,
    about json not null,
    created_at timestamp not null
);

-- one row per reply of a language model; prompt_hash is BLAKE2b-128 of what it was asked
create table core.reply (
    asking_id integer not null,
    session_id integer not null,
    sample smallint not null,
    prompt_hash varchar not null,
    text varchar not null,
    -- stop, length, content_filter or what else the provider says; refused: the server did not take the prompt
    finish varchar not null
);

-- one row per answered request for replies
create table core.reply_request (
    asking_id integer not null,
    session_id integer not null,
    replies smallint not null,
    prompt_tokens bigint not null,
    completion_tokens bigint not null,
    -- null where no price is known
    cost_usd double,
    answered_at timestamp not null
);

-- one row per fine-tuning job
create or replace view jobs as
select
    j.task || '-' || j.job_id as job,
    coalesce(d.name, 'removed') as dataset,
    j.task,
    j.provider,
    j.remote_id,
    j.status,
    j.model,
    j.base_model,
    j.settings,
    j.cost_usd,
    j.created_at,
    j.updated_at,
    j.address,
    j.figures,
    j.file_hash
from core.job as j
left join core.dataset as d on j.dataset_id = d.dataset_id;

-- one row per step of a fine-tuning job
create view job_events as
select
    j.task || '-' || j.job_id as job,
    e.happened_at,
    e.status,
    e.message
from core.job_event as e
inner join core.job as j on e.job_id = j.job_id;

-- one row per model, task and day: what asking for recommendations took
create view prompt_usage as
select
    d.name as dataset,
    a.about ->> 'task' as task,
    a.about ->> 'model' as model,
    r.answered_at::date as day,
    count(*) as requests,
    sum(r.replies) as replies,
    sum(r.prompt_tokens) as prompt_tokens,
    sum(r.completion_tokens) as completion_tokens,
    sum(r.cost_usd) as cost_usd
from core.reply_request as r
inner join core.asking as a on r.asking_id = a.asking_id
left join core.dataset as d on a.dataset_id = d.dataset_id
group by all;
