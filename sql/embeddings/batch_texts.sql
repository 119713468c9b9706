-- one row per text that was handed to the batch service: whether it is under way, in how many batches it was before,
-- and whether a request that it was part of was refused
select
    t.text_hash,
    bool_or(b.state in ('uploaded', 'submitted')) as under_way,
    count(*) filter (where b.state = 'collected') as collected,
    bool_or(t.refused) as refused
from core.embedding_batch_text as t
inner join core.embedding_batch as b on t.batch_number = b.batch_number
where b.model_id = $model_id
group by t.text_hash
