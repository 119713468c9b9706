-- one row per line of a file of JSON objects; names in braces are filled in by the reader
insert into staged_interaction (user_id, item_id, time, rejected_because)
with extracted as (
    select
        line,
        json_valid(line) as valid,
        case when json_valid(line) then json_extract_string(line, {user}) end as user_id,
        case when json_valid(line) then json_extract_string(line, {item}) end as item_id,
        case when json_valid(line) then json_extract_string(line, {time_text}) end as time_text
    from {lines}
),

timed as (
    select
        *,
        {time} as time
    from extracted
)

select
    user_id,
    item_id,
    time,
    case
        when coalesce(trim(line), '') = '' then ''
        when not valid then 'the line is no JSON'
        when coalesce(user_id, '') = '' then 'no user'
        when coalesce(item_id, '') = '' then 'no item'
        when time is null then 'no time: ''' || coalesce(time_text, '') || ''''
        when time not between $earliest::timestamp and $latest::timestamp
            then 'time out of range: ''' || time_text || ''''
    end as rejected_because
from timed
