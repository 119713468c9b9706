-- one row per item of the given test sessions of a dataset that counts (see core.test_item), by session and position;
-- the last one of a session is its ground truth, those before it the prompt
select
    x.session_id,
    s.external_id as session,
    i.external_id as item,
    coalesce(i.title, i.external_id) as title
from core.test_item as x
inner join core.dataset as d on x.dataset_id = d.dataset_id
inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
where
    d.name = $dataset
    and x.session_id in (select unnest($session_ids::integer[]))
order by x.session_id, x.position
