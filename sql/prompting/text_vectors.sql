-- one row per text of hash_columns whose vector is kept, by the text's place
select
    h.place,
    c.vector
from hash_columns as h
inner join core.text_vector as c on h.text_hash = c.text_hash and c.model_id = $model_id
order by h.place
