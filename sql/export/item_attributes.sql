-- one row per attribute that items of a dataset have besides title and categories
with attributes as (
    select unnest(json_keys(i.fields)) as attribute
    from core.item as i
    inner join core.protocol as d on i.dataset_id = d.dataset_id
    where d.name = $dataset
)

select distinct attribute
from attributes
where attribute not in ('title', 'categories')
order by attribute
