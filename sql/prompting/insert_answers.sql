-- one row per answer of answer_columns; item_id −1 stands for none
insert into core.answer
select
    $run_id,
    session_id,
    sample,
    place,
    text,
    nullif(item_id, -1),
    case when item_id <> -1 then similarity end,
    kind
from answer_columns
