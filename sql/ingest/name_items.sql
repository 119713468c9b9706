-- one row per item of the input with its interactions and the code that stands for the name from here on
create or replace temp table item_name as
select
    item_id,
    hash(item_id, $salt) as item_code,
    count(*) as n
from staged_interaction
group by item_id
