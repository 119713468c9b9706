-- one row per interaction of the input, in its order, user and item as codes; moment is what orders a session
create or replace temp table event as
select
    hash(user_id, $salt) as user_code,
    hash(item_id, $salt) as item_code,
    time,
    epoch_us(time) as moment,
    null::utinyint as part
from staged_interaction
