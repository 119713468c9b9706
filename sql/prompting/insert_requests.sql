-- one row per answered request of request_columns; a price that is not a number is not known
insert into core.reply_request
select
    $asking_id,
    session_id,
    replies,
    prompt_tokens,
    completion_tokens,
    case when not isnan(cost_usd) then cost_usd end,
    $answered_at
from request_columns
