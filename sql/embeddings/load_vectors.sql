-- one row per stored number of every vector, by item and place
select
    item_id,
    unnest(vector) as value,
    unnest(indices) as column_index
from core.item_vector
where embedding_id = $embedding_id
order by item_id
