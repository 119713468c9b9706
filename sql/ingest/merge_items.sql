-- one row per item described: of each attribute the first description that has it, in the order of the first
-- descriptions
create or replace temp table staged_item as
with repeated as (
    select item_id
    from staged_item
    group by item_id
    having count(*) > 1
),

attributes as (
    select
        described.item_id,
        pair.key as name,
        arg_min(pair.value, described.rowid) as value,
        min((described.rowid, pair.id)) as place
    from staged_item as described
    inner join repeated on described.item_id = repeated.item_id,
        lateral (
            select
                key,
                value,
                id
            from json_each(described.fields)
        ) as pair
    group by described.item_id, pair.key
),

merged as (
    select
        item_id,
        ('{' || string_agg(to_json(name) || ': ' || value, ', ' order by place) || '}')::json as fields
    from attributes
    group by item_id
),

described as (
    select
        item_id,
        min(rowid) as place,
        arg_min(title, rowid) as title,
        arg_min(category, rowid) as category,
        any_value(fields) as only_fields
    from staged_item
    group by item_id
)

select
    described.item_id,
    described.title,
    described.category,
    coalesce(merged.fields, described.only_fields) as fields
from described
left join merged on described.item_id = merged.item_id
order by described.place
