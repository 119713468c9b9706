-- one row per row of a table of sessions to score, in its order; names in braces are filled in by the reader
create or replace temp table staged_session_item as
select
    trim(session_id::varchar) as session_id,
    trim(item_id::varchar) as item_id,
    {time} as time,
    row_number() over () as input_order
from {scan}
where
    coalesce(trim(session_id::varchar), '') <> ''
    and coalesce(trim(item_id::varchar), '') <> ''
