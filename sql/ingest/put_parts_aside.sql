-- one row per interaction in one of the parts of a dataset, which are files beside the whole
create or replace temp table staged_part as
select
    user_id,
    item_id,
    time,
    min(part) as part
from staged_interaction
where rejected_because is null
group by user_id, item_id, time
