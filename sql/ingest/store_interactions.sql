-- one row per interaction, in the order of sessions and positions, so that reading a dataset is a scan.
-- Only interactions with equal times are ordered again: by md5 of user and item (and the seed), or by the
-- item's id.
insert into core.interaction
with broken_ties as (
    select
        x.session_id,
        x.item_id,
        x.time,
        (
            x.position - 1 + row_number() over (
                partition by x.session_id, x.position
                order by
                    case
                        when $tie_break = 'random' then md5(s.external_id || i.external_id || $seed_suffix)
                        else i.external_id
                    end
            )
        )::integer as position
    from kept_interaction as x
    inner join kept_session as s on x.session_id = s.session_id
    inner join kept_item as i on x.item_id = i.item_id
    where x.tied
),

placed as (
    select
        session_id,
        position,
        item_id,
        time
    from kept_interaction
    where not tied

    union all

    select
        session_id,
        position,
        item_id,
        time
    from broken_ties
)

select
    $dataset_id,
    session_id,
    position,
    item_id,
    time
from placed
order by session_id, position
