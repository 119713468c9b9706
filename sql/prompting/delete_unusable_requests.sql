-- one row per request that goes: its counts make no sense (nan is above every number)
delete from core.reply_request
where
    asking_id = $asking_id
    and not (
        replies > 0
        and prompt_tokens between 0 and $most
        and completion_tokens between 0 and $most
        and coalesce(cost_usd between 0 and 1e12, true)
    )
