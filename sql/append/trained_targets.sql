-- one row: how many cases of a split ask for an interaction that another split, perhaps of an older version of the
-- dataset, trains on
select count(*)
from core.test_case as c
inner join core.interaction as x
    on c.dataset_id = x.dataset_id and c.session_id = x.session_id and c.position = x.position
inner join core.item as i on c.dataset_id = i.dataset_id and c.ground_truth = i.item_id
inner join core.split as p on p.split_id = $trained
inner join core.session as s on p.dataset_id = s.dataset_id and c.external_id = s.external_id
inner join core.split_session as t on p.split_id = t.split_id and s.session_id = t.session_id
inner join core.item as j on p.dataset_id = j.dataset_id and i.external_id = j.external_id
where
    c.split_id = $tested
    and exists (
        select 1
        from core.interaction as y
        where
            y.dataset_id = p.dataset_id
            and y.session_id = s.session_id
            and y.item_id = j.item_id
            and y.time = x.time
            and y.position <= t.train_length
    )
