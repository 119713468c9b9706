-- one row per reply of reply_columns
insert into core.reply
select
    $asking_id,
    session_id,
    sample,
    prompt_hash,
    text,
    finish
from reply_columns
