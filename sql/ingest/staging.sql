-- The tables that readers fill; they live in the connection's temporary schema and vanish with it.

-- one row per interaction read, as it stands in the source; input_order rises in the order of the input.
-- A reader leaves rows that cannot be used in place with the reason; they are moved to staged_rejection afterwards.
create or replace temp table staged_interaction (
    user_id varchar,
    item_id varchar,
    time timestamp,
    input_order bigint not null,
    rejected_because varchar
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
