-- one row: how many rows of an asking cannot be used, by the rules of delete_unusable_replies and _requests
with numbered as (
    select
        sample,
        dense_rank() over (partition by session_id, prompt_hash order by sample < 0, sample) - 1 as place,
        row_number() over (partition by session_id, prompt_hash, sample order by rowid) as copy
    from core.reply
    where asking_id = $asking_id
)

select
    (
        select count(*)
        from numbered
        where sample <> place or copy > 1
    ) + (
        select count(*)
        from core.reply_request
        where
            asking_id = $asking_id
            and not (
                replies > 0
                and prompt_tokens between 0 and $most
                and completion_tokens between 0 and $most
                and coalesce(cost_usd between 0 and 1e12, true)
            )
    ) as unusable
