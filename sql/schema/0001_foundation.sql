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
    -- k_core, min_session, deduplicate, tie_break, seed, test_fraction, folds
    protocol json not null,
    statistics json not null
);

-- one row per item of a dataset; item_id is dense, by ascending external id
create table core.item (
    dataset_id integer not null,
    item_id integer not null,
    external_id varchar not null,
    title varchar,
    category varchar,
    fields json,
    -- interactions in the whole dataset, and in its training sessions
    popularity bigint not null,
    train_popularity bigint not null
);

-- one row per session of a dataset; session_id is dense, by the time of the last interaction
create table core.session (
    dataset_id integer not null,
    session_id integer not null,
    external_id varchar not null,
    part varchar not null,
    -- number of the training sessions' temporal bin (1 = earliest); null for test sessions
    bin utinyint,
    length integer not null,
    -- the item to predict; null unless the session is evaluated
    ground_truth integer
);

-- one row per interaction of a dataset; position counts from 1, oldest first
create table core.interaction (
    dataset_id integer not null,
    session_id integer not null,
    position integer not null,
    item_id integer not null,
    time timestamp not null
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
    text varchar not null,
    dimensions integer not null,
    sparse boolean not null,
    settings json not null,
    created_at timestamp not null,
    seconds double not null
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
    model varchar not null,
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
    depth integer not null,
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
    session_id integer not null,
    rank smallint not null,
    item_id integer not null,
    score float not null
);

-- one row per evaluated session of a run; rank is null where the ground truth is not among the stored items
create table core.session_rank (
    run_id integer not null,
    session_id integer not null,
    rank smallint
);

-- one row per dataset
create view datasets as
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
            (d.statistics ->> 'ties_at_end')::double as ties_at_end,
            (d.statistics ->> 'train_sessions')::bigint as train_sessions,
            (d.statistics ->> 'test_sessions')::bigint as test_sessions,
            (d.statistics ->> 'evaluated_sessions')::bigint as evaluated_sessions,
            (d.statistics ->> 'train_items')::bigint as train_items,
            (d.statistics ->> 'rejected')::bigint as rejected
    ) as s;

-- one row per item of a dataset
create view items as
select
    d.name as dataset,
    i.external_id as item,
    i.title,
    i.category,
    i.popularity,
    i.title as text,
    i.fields
from core.item as i
inner join core.dataset as d on i.dataset_id = d.dataset_id;

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

-- one row per session of a dataset
create view splits as
select
    d.name as dataset,
    s.external_id as session,
    s.part,
    s.bin,
    s.length,
    s.ground_truth is not null as evaluated,
    i.external_id as ground_truth
from core.session as s
inner join core.dataset as d on s.dataset_id = d.dataset_id
left join core.item as i on s.dataset_id = i.dataset_id and s.ground_truth = i.item_id;

-- one row per input row that was set aside
create view rejected as
select
    d.name as dataset,
    r.file,
    r.line,
    r.reason
from core.rejection as r
inner join core.dataset as d on r.dataset_id = d.dataset_id;

-- one row per item and set of embeddings
create view item_embeddings as
select
    d.name as dataset,
    i.external_id as item,
    e.source,
    e.model,
    e.text,
    e.dimensions,
    v.vector,
    v.indices
from core.item_vector as v
inner join core.embedding as e on v.embedding_id = e.embedding_id
inner join core.dataset as d on e.dataset_id = d.dataset_id
inner join core.item as i on e.dataset_id = i.dataset_id and v.item_id = i.item_id;

-- one row per run; its name is the model's name and a number
create view runs as
select
    r.model || '-' || r.run_id as run,
    d.name as dataset,
    r.model,
    r.label,
    r.settings,
    r.seed,
    r.status,
    r.embeddings,
    r.figures,
    r.environment,
    r.sessions,
    r.depth,
    r.started_at
from core.run as r
inner join core.dataset as d on r.dataset_id = d.dataset_id;

-- one row per run, metric and cut-off
create view metrics as
select
    r.model || '-' || r.run_id as run,
    m.metric,
    m.k,
    m.value
from core.metric as m
inner join core.run as r on m.run_id = r.run_id;

-- one row per recommended item
create view recommendations as
select
    r.model || '-' || r.run_id as run,
    s.external_id as session,
    x.rank,
    i.external_id as item,
    x.score
from core.recommendation as x
inner join core.run as r on x.run_id = r.run_id
inner join core.session as s on r.dataset_id = s.dataset_id and x.session_id = s.session_id
inner join core.item as i on r.dataset_id = i.dataset_id and x.item_id = i.item_id;

-- one row per evaluated session of a run
create view ranks as
select
    r.model || '-' || r.run_id as run,
    s.external_id as session,
    i.external_id as ground_truth,
    x.rank
from core.session_rank as x
inner join core.run as r on x.run_id = r.run_id
inner join core.session as s on r.dataset_id = s.dataset_id and x.session_id = s.session_id
inner join core.item as i on r.dataset_id = i.dataset_id and s.ground_truth = i.item_id;
