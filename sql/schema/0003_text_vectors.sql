-- Vectors of texts are kept once, whoever's items have the text; sets of embeddings only name the text of each item.

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

-- one row per item and set of embeddings, where the vectors are those of texts; an item that has none of its own
-- (no text, or a refused one) has its row in core.item_vector instead
create table core.item_text (
    embedding_id integer not null,
    item_id integer not null,
    text_hash varchar not null
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

-- the model of a set that names texts, null for others; and what making the set took
alter table core.embedding add column model_id integer;
alter table core.embedding add column usage json;

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

-- one row per item and set of embeddings; filled says that the vector is a mean of others, for want of a text
create or replace view item_embeddings as
select
    d.name as dataset,
    i.external_id as item,
    e.source,
    e.model,
    e.text,
    e.dimensions,
    v.vector,
    v.indices,
    v.filled
from (
    select
        x.embedding_id,
        x.item_id,
        x.vector,
        x.indices,
        o.model_id is not null as filled
    from core.item_vector as x
    inner join core.embedding as o on x.embedding_id = o.embedding_id
    union all
    select
        t.embedding_id,
        t.item_id,
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
