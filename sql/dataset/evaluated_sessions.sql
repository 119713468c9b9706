-- one row per interaction of the evaluated sessions whose item occurs in training, by session and position;
-- the last one of a session is its ground truth
select
    x.session_id,
    x.item_id
from core.interaction as x
inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
where
    x.dataset_id = $dataset_id
    and s.ground_truth is not null
    and i.train_popularity > 0
order by x.session_id, x.position
