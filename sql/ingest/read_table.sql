-- one row per row of a table of interactions; names in braces are filled in by the reader
insert into staged_interaction (user_id, item_id, time, rejected_because, part, sort_key)
with timed as (
    select
        problem,
        {user} as user_id,
        {item} as item_id,
        {time_value} as time_value,
        {time} as time,
        {sort_key} as sort_key,
        {kept} as kept
    from {scan}
)

select
    user_id,
    item_id,
    time,
    case
        when problem is not null then problem
        when not kept then $left_out
        when coalesce(user_id, '') = '' then 'no user'
        when coalesce(item_id, '') = '' then 'no item'
        when time is null then 'no time: ''' || coalesce(time_value::varchar, '') || ''''
        when time not between $earliest::timestamp and $latest::timestamp
            then 'time out of range: ''' || time_value::varchar || ''''
    end as rejected_because,
    $part,
    sort_key
from timed
