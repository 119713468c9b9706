-- one row per parsed line of a file of Python literals; the name in braces is filled in by the reader
insert into staged_interaction (user_id, item_id, time, rejected_because)
with timed as (
    select
        *,
        {time} as time
    from literal_rows
)

select
    user_id,
    item_id,
    time,
    case
        when reason is not null then reason
        when coalesce(user_id, '') = '' then 'no user'
        when coalesce(item_id, '') = '' then 'no item'
        when time is null then 'no time: ''' || coalesce(time_text, '') || ''''
        when time not between $earliest::timestamp and $latest::timestamp
            then 'time out of range: ''' || time_text || ''''
    end as rejected_because
from timed
