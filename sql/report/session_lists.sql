-- one row per item that a run recommended in the given cases, by case and rank
select
    x.case_id,
    x.rank,
    i.external_id as item,
    coalesce(i.title, i.external_id) as title,
    x.score
from core.recommendation as x
inner join core.run as r on x.run_id = r.run_id
inner join core.item as i on r.dataset_id = i.dataset_id and x.item_id = i.item_id
where
    x.run_id = $run_id
    and x.case_id in (select unnest($case_ids::integer[]))
    and x.rank <= $k
order by x.case_id, x.rank
