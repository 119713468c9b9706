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
