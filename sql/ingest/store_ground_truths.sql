-- one row per test session that can be evaluated: at least two of its items count (see core.test_item), the last of
-- those is what is to be predicted
update core.session
set ground_truth = evaluated.item_id
from (
    select
        session_id,
        arg_max(item_id, position) as item_id
    from core.test_item
    where dataset_id = $dataset_id
    group by session_id
    having count(*) >= 2
) as evaluated
where
    core.session.dataset_id = $dataset_id
    and core.session.session_id = evaluated.session_id
