-- one row per interaction of the input, users and items as codes
create or replace temp table event as
select
    u.user_code,
    i.item_code,
    s.time,
    s.input_order
from staged_interaction as s
inner join user_name as u on s.user_id = u.user_id
inner join item_name as i on s.item_id = i.item_id
