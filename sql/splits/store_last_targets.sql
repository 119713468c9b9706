-- one row per session with something to predict: the last item of the range that counts, if one that counts stands
-- before it. Items that are never trained on count only where the split keeps them.
insert into core.target
with ranges as (
    select
        session_id,
        if($part = 'test', test_from, valid_from) as target_from,
        if($part = 'test', test_to, valid_to) as target_to
    from split_cut
    where if($part = 'test', test_from, valid_from) is not null
)

select
    $split_id,
    $part,
    x.session_id as case_id,
    x.session_id,
    max(x.position) as position,
    max(x.position) - 1 as history_length,
    arg_max(x.item_id, x.position) as item_id
from core.interaction as x
inner join ranges as r on x.session_id = r.session_id and x.position <= r.target_to
inner join core.split_item as i on i.split_id = $split_id and x.item_id = i.item_id
where
    x.dataset_id = $dataset_id
    and ($keep or i.train_popularity > 0)
group by x.session_id
having count(*) >= 2 and max(x.position) >= any_value(r.target_from)
order by x.session_id
