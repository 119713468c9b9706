-- one row per kept reply to the prompts of asked_columns, at most $samples a session; number is the prompt's place
select
    a.number,
    r.sample,
    r.text,
    r.finish
from core.reply as r
inner join asked_columns as a on r.session_id = a.session_id and r.prompt_hash = a.prompt_hash
where
    r.asking_id = $asking_id
    and r.sample < $samples
order by a.number, r.sample
