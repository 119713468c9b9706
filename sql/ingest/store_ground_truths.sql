-- one row per test session that can be evaluated: at least two of its items occur in training,
-- the last of those is what is to be predicted
update core.session
set ground_truth = evaluated.item_id
from (
    select
        x.session_id,
        arg_max(x.item_id, x.position) as item_id
    from core.interaction as x
    inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
    where
        x.dataset_id = $dataset_id
        and x.session_id >= $train_sessions
        and i.train_popularity > 0
    group by x.session_id
    having count(*) >= 2
) as evaluated
where
    core.session.dataset_id = $dataset_id
    and core.session.session_id = evaluated.session_id
