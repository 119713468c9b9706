-- one row per batch that the service has taken or may have taken and that is not collected, oldest first
select
    b.batch_number as number,
    d.name as dataset,
    m.source,
    m.model,
    count(t.text_hash) as texts,
    if(b.state = 'submitted', 'accepted', 'not confirmed') as state,
    b.batch_id as id,
    b.created_at as handed_over
from core.embedding_batch as b
inner join core.text_model as m on b.model_id = m.model_id
left join core.dataset as d on b.dataset_id = d.dataset_id
left join core.embedding_batch_text as t on b.batch_number = t.batch_number
where b.state in ('uploaded', 'submitted')
group by all
order by b.batch_number
