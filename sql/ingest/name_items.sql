-- one row per item of the input, with a dense code that stands for the name from here on
create or replace temp table item_name as
select
    item_id,
    (row_number() over () - 1)::integer as item_code
from (select distinct item_id from staged_interaction)
