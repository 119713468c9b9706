-- one row per item: its vector out of flat columns (sparse vectors also name their columns)
insert into core.item_vector
select
    $embedding_id,
    item_id,
    list(value order by place),
    case when $sparse then list(column_index order by place) end
from vector_columns
group by item_id
order by item_id
