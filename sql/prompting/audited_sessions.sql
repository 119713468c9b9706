-- one row per case that is tested: the session's own id, and which of its items is to be predicted
select
    case_id,
    external_id,
    position
from core.test_case
where split_id = $split_id
