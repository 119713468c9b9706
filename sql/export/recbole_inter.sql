-- one row per interaction of a dataset's part (train, test or, where null, all), in the order of the sessions, which
-- equal times leave open; of test sessions only what is evaluated
select
    s.external_id as "user_id:token",
    i.external_id as "item_id:token",
    epoch(x.time)::bigint as "timestamp:float"
from core.interaction as x
inner join core.dataset as d on x.dataset_id = d.dataset_id
inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
left join core.test_item as t
    on x.dataset_id = t.dataset_id and x.session_id = t.session_id and x.position = t.position
where
    d.name = $dataset
    and (
        $part::varchar is null
        or ($part = 'train' and s.part = 'train')
        or ($part = 'test' and t.ground_truth is not null)
    )
order by x.session_id, x.position
