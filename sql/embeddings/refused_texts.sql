-- one row per place of a text that the server refused before
select
    h.place,
    any_value(r.reason) as reason
from hash_columns as h
inner join core.refused_text as r on h.text_hash = r.text_hash
where r.model_id = $model_id
group by h.place
order by h.place
