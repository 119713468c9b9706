-- The tables that readers fill; they live in the connection's temporary schema and vanish with it.

-- one row per interaction read, as it stands in the source and in its order (which rowid keeps).
-- A reader leaves rows that cannot be used in place with the reason ('' for blank lines), so that a row's place tells
-- its line; once all is read they are gone, and the reasons stand in staged_rejection.
create or replace temp table staged_interaction (
    user_id varchar,
    item_id varchar,
    time timestamp,
    rejected_because varchar,
    -- train, validation or test where the source comes in such parts
    part varchar,
    -- what orders interactions of one time; null where the source does not say
    sort_key double
);

-- one row per item described by the source (the first description of an item counts)
create or replace temp table staged_item (
    item_id varchar not null,
    title varchar,
    category varchar,
    -- all text attributes by name, for text templates: {"title": …, "brand": …}
    fields json
);

-- one row per input row that could not be used
create or replace temp table staged_rejection (
    file varchar not null,
    line bigint,
    reason varchar not null
);
