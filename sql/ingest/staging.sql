-- The tables that readers fill; they live in the connection's temporary schema and vanish with it.

-- one row per interaction read, as it stands in the source; input_order rises in the order of the input
create or replace temp table staged_interaction (
    user_id varchar not null,
    item_id varchar not null,
    time timestamp not null,
    input_order bigint not null
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
