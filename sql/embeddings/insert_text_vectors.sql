-- one row per text: its vector out of flat columns
insert into core.text_vector
select
    $model_id,
    h.text_hash,
    v.vector
from (
    select
        item_id,
        list(value order by place) as vector
    from vector_columns
    group by item_id
) as v
inner join hash_columns as h on v.item_id = h.place
