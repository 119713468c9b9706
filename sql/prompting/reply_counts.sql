-- one row per session and prompt that was answered: how many replies are kept
select
    session_id,
    prompt_hash,
    count(*) as replies
from core.reply
where asking_id = $asking_id
group by all
