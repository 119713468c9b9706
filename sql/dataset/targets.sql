-- one row per case of a part of a split, in their order: which item of which session is to be predicted, from how many
-- leading items
select
    case_id,
    session_id,
    position,
    history_length
from core.target
where split_id = $split_id and part = $part
order by case_id
