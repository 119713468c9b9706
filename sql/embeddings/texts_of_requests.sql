-- one row per text of a batch, in the order in which its requests hold them
select
    request,
    text_hash
from core.embedding_batch_text
where batch_number = $batch_number
order by request, place
