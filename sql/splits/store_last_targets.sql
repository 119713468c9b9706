-- one row per session with something to predict: the last item of the range that counts, if one that counts stands
-- before it. Items that are never trained on count only where the split keeps them.
insert into core.target
select
    $split_id,
    $part,
    session_id as case_id,
    session_id,
    max(position) as position,
    max(position) - 1 as history_length,
    arg_max(item_id, position) as item_id
from countable($dataset_id, $split_id, $part, $keep)
group by session_id
having count(*) >= 2 and max(position) >= any_value(target_from)
order by session_id
