-- The whole schema. Five migrations became this one before the first release, and it has the number of the last: a
-- workspace that went through all five has these tables.
--
-- Tables live in schema core and speak dense integer ids; the views in schema main speak external ids and names.
-- Users' SQL may rely on the views, never on the tables.

create schema core;

create sequence core.dataset_number;

-- one row per ingested dataset
create table core.dataset (
    dataset_id integer primary key default nextval('core.dataset_number'),
    name varchar not null,
    ingested_at timestamp not null,
    -- what was read and how it was understood: paths, sizes, format, columns, notes
    source json not null,
    -- k_core, min_session, deduplicate, tie_break, seed
    protocol json not null,
    statistics json not null
);

create sequence core.split_number;

-- one row per split of a dataset: a way to part it into what is trained on, validated on and tested. The first split of
-- a dataset goes by the dataset's name alone.
create table core.split (
    split_id integer primary key default nextval('core.split_number'),
    dataset_id integer not null,
    name varchar not null,
    -- sessions, leave-one-out, global-time, users or files
    kind varchar not null,
    -- what parts it: test_fraction, point, targets, validation, folds, seed; unseen_items; repeats
    rule json not null,
    statistics json not null,
    made_at timestamp not null
);

-- one row per item of a dataset; item_id is dense, by ascending external id
create table core.item (
    dataset_id integer not null,
    item_id integer not null,
    external_id varchar not null,
    title varchar,
    category varchar,
    fields json,
    -- interactions in the whole dataset
    popularity bigint not null
);

-- one row per session of a dataset; session_id is dense, by the time of the last interaction
create table core.session (
    dataset_id integer not null,
    session_id integer not null,
    external_id varchar not null,
    length integer not null
);

-- one row per interaction of a dataset; position counts from 1, oldest first
create table core.interaction (
    dataset_id integer not null,
    session_id integer not null,
    position integer not null,
    item_id integer not null,
    time timestamp not null
);

-- one row per session of a split
create table core.split_session (
    split_id integer not null,
    session_id integer not null,
    -- train, test, both, validation or none
    part varchar not null,
    -- number of the training sessions' temporal bin (1 = earliest); null where nothing is trained on
    bin utinyint,
    -- how many of the session's leading interactions are trained on
    train_length integer not null,
    -- place among the training sessions, by the last interaction that is trained on; null where nothing is
    place integer
);

-- one row per item of a dataset and split, with its interactions in what is trained on
create table core.split_item (
    split_id integer not null,
    item_id integer not null,
    train_popularity bigint not null
);

-- one row per item to predict; a session may have several, each is a case of its own
create table core.target (
    split_id integer not null,
    -- validation or test
    part varchar not null,
    -- unique within split and part: the session's id where each session has one target at most
    case_id integer not null,
    session_id integer not null,
    -- where the target stands, and how many leading interactions are its history
    position integer not null,
    history_length integer not null,
    item_id integer not null
);

-- one row per input row that was set aside
create table core.rejection (
    dataset_id integer not null,
    file varchar not null,
    line bigint,
    reason varchar not null
);

create sequence core.embedding_number;

-- one row per set of item embeddings
create table core.embedding (
    embedding_id integer primary key default nextval('core.embedding_number'),
    dataset_id integer not null,
    source varchar not null,
    model varchar not null,
    -- how an item's text is made of its attributes, for example {title}
    template varchar not null,
    dimensions integer not null,
    sparse boolean not null,
    settings json not null,
    created_at timestamp not null,
    seconds double not null,
    -- the model of a set that names texts, null for others; and what making the set took
    model_id integer,
    usage json
);

-- one row per item and set of embeddings; a sparse vector names its columns in indices, a dense one has null there
create table core.item_vector (
    embedding_id integer not null,
    item_id integer not null,
    vector float[] not null,
    indices integer[]
);

create sequence core.run_number;

-- one row per trained and scored model
create table core.run (
    run_id integer primary key default nextval('core.run_number'),
    dataset_id integer not null,
    split_id integer not null,
    model varchar not null,
    name varchar generated always as (model || '-' || run_id),
    label varchar not null,
    status varchar not null,
    seed integer not null,
    settings json not null,
    -- source, model, text, reduction and dimensions of the item embeddings; null for models without
    embeddings json,
    -- versions, device, threads, processor
    environment json not null,
    -- train_seconds, score_seconds, peak_memory_mb and what the model reports of its training
    figures json not null,
    sessions integer not null,
    list_length integer not null,
    started_at timestamp not null
);

-- one row per run, metric and cut-off
create table core.metric (
    run_id integer not null,
    metric varchar not null,
    k integer not null,
    value double not null
);

-- one row per recommended item; rank counts from 1, best first
create table core.recommendation (
    run_id integer not null,
    case_id integer not null,
    rank smallint not null,
    item_id integer not null,
    score float not null
);

-- one row per evaluated case of a run; rank is null where the ground truth is not among the stored items
create table core.case_rank (
    run_id integer not null,
    case_id integer not null,
    rank smallint
);

create sequence core.job_number;

-- one row per fine-tuning job, from the moment its files are built
create table core.job (
    job_id integer primary key default nextval('core.job_number'),
    dataset_id integer not null,
    split_id integer not null,
    task varchar not null,
    name varchar generated always as (task || '-' || job_id),
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
    updated_at timestamp not null,
    -- goes with the job as metadata: it is found again even where the provider's id was never heard
    token varchar,
    -- whose service: a server's address, a project and region
    address varchar,
    training_file_id varchar,
    validation_file_id varchar,
    -- counts of examples and tokens, what was left out, what the job is expected to cost
    figures json
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
    split_id integer not null,
    model varchar not null,
    settings json not null,
    value double,
    state varchar not null,
    inputs json,
    folds double[],
    seconds double,
    started_at timestamp,
    ended_at timestamp,
    error varchar
);

create sequence core.text_model_number;

-- one row per way to make a vector of a text
create table core.text_model (
    model_id integer primary key default nextval('core.text_model_number'),
    source varchar not null,
    model varchar not null,
    -- as asked for; 0 is the model's own number
    dimensions integer not null,
    -- what else decides the vectors: a server of one's own, a pooling, a task type
    variant varchar not null
);

-- one row per text and model that turned it into a vector; text_hash is BLAKE2b-128 of the text as it was sent
create table core.text_vector (
    model_id integer not null,
    text_hash varchar not null,
    vector float[] not null
);

-- one row per text that a server refused
create table core.refused_text (
    model_id integer not null,
    text_hash varchar not null,
    text varchar not null,
    reason varchar not null,
    refused_at timestamp not null
);

-- one row per item and set of embeddings that has a text of its own. Its vector is the one of text_hash in
-- core.text_vector; where text_hash is null (a source that keeps no cache) it is in core.item_vector. An item without a
-- text, or with a refused one, has its row in core.item_vector alone
create table core.item_text (
    embedding_id integer not null,
    item_id integer not null,
    -- as it was embedded
    text varchar not null,
    text_hash varchar
);

-- one row per answered request
create table core.embedding_request (
    model_id integer not null,
    dataset_id integer not null,
    texts integer not null,
    tokens bigint not null,
    -- null where no price is known
    cost_usd double,
    answered_at timestamp not null
);

create sequence core.embedding_batch_number;

-- one row per file handed to a provider's batch service, from the moment before it is uploaded
create table core.embedding_batch (
    batch_number integer primary key default nextval('core.embedding_batch_number'),
    model_id integer not null,
    dataset_id integer not null,
    -- prepared, uploaded, submitted, then collected, failed or lost
    state varchar not null,
    -- goes with the batch as metadata: it is found again even where its id was never heard
    token varchar not null,
    file_id varchar,
    batch_id varchar,
    created_at timestamp not null,
    updated_at timestamp not null
);

-- one row per text of a batch: place counts within a request, from 0
create table core.embedding_batch_text (
    batch_number integer not null,
    request integer not null,
    place integer not null,
    text_hash varchar not null,
    -- the server refused the request: its texts are then sent one by one
    refused boolean not null default false
);

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

-- one row per interaction of appended files that the k-core left out of the newest version of a dataset: it counts
-- again with the next files
create table core.waiting_interaction (
    dataset_id integer not null,
    user_id varchar not null,
    item_id varchar not null,
    time timestamp,
    sort_key double
);

-- one row per description of an item that only such interactions have; an item's first description counts
create table core.waiting_item (
    dataset_id integer not null,
    item_id varchar not null,
    title varchar,
    category varchar,
    fields json
);

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

-- Views: what users rely on

-- one row per split of a dataset, with what is said and counted of both. name: the dataset's, and the split's where it
-- is not the dataset's first
create view core.protocol as
select
    s.split_id,
    s.dataset_id,
    d.name || if(s.split_id = min(s.split_id) over (partition by s.dataset_id), '', '/' || s.name) as name,
    d.name as dataset,
    s.name as split,
    s.kind,
    s.split_id = min(s.split_id) over (partition by s.dataset_id) as is_first,
    json_merge_patch(d.protocol, s.rule) as protocol,
    json_merge_patch(d.statistics, s.statistics) as statistics,
    d.source,
    d.ingested_at,
    s.made_at
from core.split as s
inner join core.dataset as d on s.dataset_id = d.dataset_id;

-- one row per case that is tested: a session and the item to predict. name: the session's, and the item's place where
-- the session has several cases
create view core.test_case as
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
create view core.case_item as
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

-- one row per dataset, with what its first split holds
create view datasets as
select
    d.dataset,
    d.ingested_at,
    s.*,
    d.protocol,
    d.source
from core.protocol as d,
    lateral (
        select
            (d.statistics ->> 'sessions')::bigint as sessions,
            (d.statistics ->> 'items')::bigint as items,
            (d.statistics ->> 'interactions')::bigint as interactions,
            (d.statistics ->> 'classes')::bigint as classes,
            (d.statistics ->> 'average_length')::double as average_length,
            (d.statistics ->> 'density')::double as density,
            d.protocol ->> 'tie_break' as tie_break,
            d.protocol ->> 'unseen_items' as unseen_items,
            (d.statistics ->> 'ties_at_end')::double as ties_at_end,
            (d.statistics ->> 'train_sessions')::bigint as train_sessions,
            (d.statistics ->> 'test_sessions')::bigint as test_sessions,
            (d.statistics ->> 'evaluated_sessions')::bigint as evaluated_sessions,
            (d.statistics ->> 'train_items')::bigint as train_items,
            (d.statistics ->> 'rejected')::bigint as rejected
    ) as s
where d.is_first;

-- one row per split of a dataset
create view dataset_splits as
select
    p.dataset,
    p.split,
    p.kind,
    p.protocol ->> 'unseen_items' as unseen_items,
    p.protocol ->> 'repeats' as repeats,
    (p.statistics ->> 'train_sessions')::bigint as train_sessions,
    (p.statistics ->> 'train_interactions')::bigint as train_interactions,
    (p.statistics ->> 'train_items')::bigint as train_items,
    (p.statistics ->> 'validation_sessions')::bigint as validation_sessions,
    (p.statistics ->> 'test_sessions')::bigint as test_sessions,
    (p.statistics ->> 'evaluated_sessions')::bigint as evaluated_sessions,
    p.protocol,
    p.made_at
from core.protocol as p;

-- one row per item of a dataset; train_popularity counts its interactions in what the first split trains on
create view items as
select
    d.dataset,
    i.external_id as item,
    i.title,
    i.category,
    i.popularity,
    i.title as text,
    i.fields,
    t.train_popularity
from core.item as i
inner join core.protocol as d on i.dataset_id = d.dataset_id and d.is_first
inner join core.split_item as t on d.split_id = t.split_id and i.item_id = t.item_id;

-- one row per interaction of a dataset
create view interactions as
select
    d.name as dataset,
    s.external_id as session,
    x.position,
    i.external_id as item,
    x.time
from core.interaction as x
inner join core.dataset as d on x.dataset_id = d.dataset_id
inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id;

-- one row per session and split of its dataset; ground_truth is that of its last case
create view splits as
with tested as (
    select
        split_id,
        session_id,
        count(*) as cases,
        arg_max(item_id, position) as ground_truth
    from core.target
    where part = 'test'
    group by split_id, session_id
)

select
    d.dataset,
    s.external_id as session,
    p.part,
    p.bin,
    s.length,
    t.ground_truth is not null as evaluated,
    i.external_id as ground_truth,
    d.split,
    p.train_length,
    coalesce(t.cases, 0) as cases
from core.split_session as p
inner join core.protocol as d on p.split_id = d.split_id
inner join core.session as s on d.dataset_id = s.dataset_id and p.session_id = s.session_id
left join tested as t on p.split_id = t.split_id and p.session_id = t.session_id
left join core.item as i on d.dataset_id = i.dataset_id and t.ground_truth = i.item_id;

-- one row per item to predict
create view targets as
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

-- one row per input row that was set aside
create view rejected as
select
    d.name as dataset,
    r.file,
    r.line,
    r.reason
from core.rejection as r
inner join core.dataset as d on r.dataset_id = d.dataset_id;

-- one row per item and set of embeddings; template makes an item's text, text is what was embedded for the item, filled
-- says that the vector is a mean of others, for want of a text
create view item_embeddings as
select
    d.name as dataset,
    i.external_id as item,
    e.source,
    e.model,
    e.template,
    v.text,
    e.dimensions,
    v.vector,
    v.indices,
    v.filled
from (
    select
        x.embedding_id,
        x.item_id,
        own.text,
        x.vector,
        x.indices,
        o.model_id is not null as filled
    from core.item_vector as x
    inner join core.embedding as o on x.embedding_id = o.embedding_id
    left join core.item_text as own on x.embedding_id = own.embedding_id and x.item_id = own.item_id
    union all
    select
        t.embedding_id,
        t.item_id,
        t.text,
        c.vector,
        null as indices,
        false as filled
    from core.item_text as t
    inner join core.embedding as o on t.embedding_id = o.embedding_id
    inner join core.text_vector as c on o.model_id = c.model_id and t.text_hash = c.text_hash
) as v
inner join core.embedding as e on v.embedding_id = e.embedding_id
inner join core.dataset as d on e.dataset_id = d.dataset_id
inner join core.item as i on e.dataset_id = i.dataset_id and v.item_id = i.item_id;

-- one row per run; its name is the model's name and a number
create view runs as
select
    r.name as run,
    d.dataset,
    r.model,
    r.label,
    r.settings,
    r.seed,
    r.status,
    r.embeddings,
    r.figures,
    r.environment,
    r.sessions,
    r.list_length,
    r.started_at,
    d.split
from core.run as r
inner join core.protocol as d on r.split_id = d.split_id;

-- one row per run, metric and cut-off
create view metrics as
select
    r.name as run,
    m.metric,
    m.k,
    m.value
from core.metric as m
inner join core.run as r on m.run_id = r.run_id;

-- one row per recommended item; position: of the item to predict
create view recommendations as
select
    r.name as run,
    c.external_id as session,
    x.rank,
    i.external_id as item,
    x.score,
    c.position
from core.recommendation as x
inner join core.run as r on x.run_id = r.run_id
inner join core.test_case as c on r.split_id = c.split_id and x.case_id = c.case_id
inner join core.item as i on r.dataset_id = i.dataset_id and x.item_id = i.item_id;

-- one row per evaluated case of a run; position: of the item to predict
create view ranks as
select
    r.name as run,
    c.external_id as session,
    i.external_id as ground_truth,
    x.rank,
    c.position
from core.case_rank as x
inner join core.run as r on x.run_id = r.run_id
inner join core.test_case as c on r.split_id = c.split_id and x.case_id = c.case_id
inner join core.item as i on r.dataset_id = i.dataset_id and c.ground_truth = i.item_id;

-- one row per fine-tuning job
create view jobs as
select
    j.name as job,
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

-- one row per answer (for lists: per item of the answer)
create view answers as
select
    r.name as run,
    s.external_id as session,
    a.sample,
    a.place,
    a.text,
    i.external_id as item,
    a.similarity,
    a.kind
from core.answer as a
inner join core.run as r on a.run_id = r.run_id
inner join core.test_case as s on r.split_id = s.split_id and a.session_id = s.case_id
left join core.item as i on r.dataset_id = i.dataset_id and a.item_id = i.item_id;

-- one row per trial that has ended: complete, pruned or fail; value is the mean NDCG@20 of the folds that it ran
create view trials as
select
    t.study,
    t.trial,
    d.dataset,
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
    t.error,
    d.split
from core.trial as t
inner join core.protocol as d on t.split_id = d.split_id;

-- one row per text that a server refused
create view refused_texts as
select
    m.source,
    m.model,
    r.text,
    r.reason,
    r.refused_at
from core.refused_text as r
inner join core.text_model as m on r.model_id = m.model_id;

-- one row per dataset, model and day: what embedding took
create view embedding_usage as
select
    d.name as dataset,
    m.source,
    m.model,
    r.answered_at::date as day,
    count(*) as requests,
    sum(r.texts) as texts,
    sum(r.tokens) as tokens,
    sum(r.cost_usd) as cost_usd
from core.embedding_request as r
inner join core.text_model as m on r.model_id = m.model_id
left join core.dataset as d on r.dataset_id = d.dataset_id
group by all;

-- one row per step of a fine-tuning job
create view job_events as
select
    j.name as job,
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
