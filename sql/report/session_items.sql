-- one row per item of the given cases of a split that counts (see core.case_item), by case and position; the last one
-- of a case is its ground truth, those before it the history
select
    x.case_id,
    x.external_id as session,
    i.external_id as item,
    coalesce(i.title, i.external_id) as title
from core.case_item as x
inner join core.protocol as d on x.split_id = d.split_id
inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
where
    d.name = $dataset
    and x.case_id in (select unnest($case_ids::integer[]))
order by x.case_id, x.position
