-- one row per user of the input, with a dense code that stands for the name from here on
create or replace temp table user_name as
select
    user_id,
    (row_number() over () - 1)::integer as user_code
from (select distinct user_id from staged_interaction)
