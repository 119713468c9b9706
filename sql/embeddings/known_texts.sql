-- one row per place of a text whose vector is kept and as wide as the model's others
select h.place
from hash_columns as h
semi join core.text_vector as c
    on
        h.text_hash = c.text_hash
        and c.model_id = $model_id
        and len(c.vector) = $width
order by h.place
