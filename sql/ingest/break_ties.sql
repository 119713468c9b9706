-- one row per interaction with its final position in the session. Only interactions that bear the same time are
-- ordered again: by md5 of user and item (and the seed), by the item's id, or as they stood in the input.
create or replace temp table placed_interaction as
with tie_keys as (
    select
        x.session_id,
        x.item_id,
        x.time,
        x.first_position,
        x.input_order,
        case $tie_break
            when 'random' then md5(s.external_id || i.external_id || $seed_suffix)
            when 'item' then i.external_id
            else ''
        end as tie_key
    from kept_interaction as x
    inner join kept_session as s on x.session_id = s.session_id
    inner join kept_item as i on x.item_id = i.item_id
    where x.tied
),

broken as (
    select
        session_id,
        item_id,
        time,
        (
            first_position - 1 + row_number() over (
                partition by session_id, first_position
                order by tie_key, input_order
            )
        )::integer as position
    from tie_keys
)

select
    session_id,
    item_id,
    time,
    first_position as position
from kept_interaction
where not tied

union all

select
    session_id,
    item_id,
    time,
    position
from broken
