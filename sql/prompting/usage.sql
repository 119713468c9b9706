-- one row: what the replies for the sessions of asked_columns have taken
select
    count(*) as requests,
    coalesce(sum(prompt_tokens), 0)::bigint as prompt_tokens,
    coalesce(sum(completion_tokens), 0)::bigint as completion_tokens,
    sum(cost_usd) as cost_usd
from core.reply_request as r
semi join asked_columns as a on r.session_id = a.session_id
where r.asking_id = $asking_id
