-- one row per batch that may be under way, oldest first
select
    b.batch_number,
    b.state,
    b.token,
    b.batch_id,
    count(t.text_hash) as texts
from core.embedding_batch as b
left join core.embedding_batch_text as t on b.batch_number = t.batch_number
where
    b.model_id = $model_id
    and b.state in ('uploaded', 'submitted')
group by all
order by b.batch_number
