-- one row per place of a text whose vector is kept and usable: finite numbers, as many as the model's others have
select h.place
from hash_columns as h
semi join core.text_vector as c
    on
        h.text_hash = c.text_hash
        and c.model_id = $model_id
        and len(c.vector) = $width
        and list_count(c.vector) = $width
        and isfinite(list_sum(c.vector))
order by h.place
