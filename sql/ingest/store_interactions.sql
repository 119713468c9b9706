-- one row per interaction, in the order of sessions and positions, so that reading a dataset is a scan
insert into core.interaction
select
    $dataset_id,
    session_id,
    position,
    item_id,
    time
from placed_interaction
order by session_id, position
