-- one row per recommended item of the runs, by run, session and rank; safe: a ' before what a spreadsheet would run
select
    r.name as run,
    if($safe, safe_cell(s.name), s.name) as session,
    x.rank,
    if($safe, safe_cell(i.external_id), i.external_id) as item,
    x.score,
    if($safe, safe_cell(i.title), i.title) as title,
    x.item_id = s.ground_truth as is_ground_truth
from core.recommendation as x
inner join core.run as r on x.run_id = r.run_id
inner join core.test_case as s on r.split_id = s.split_id and x.case_id = s.case_id
inner join core.item as i on r.dataset_id = i.dataset_id and x.item_id = i.item_id
where
    x.run_id in (select unnest($run_ids::integer[]))
    and ($k::integer is null or x.rank <= $k)
order by list_position($run_ids::integer[], x.run_id), x.case_id, x.rank
