-- one row per item of a dataset; the words of a category are separated by spaces, so theirs become hyphens; the columns
-- of its other attributes are added by the program
select
    i.external_id as "item_id:token",
    regexp_replace(coalesce(i.title, ''), '\s+', ' ', 'g') as "title:token_seq",
    replace(regexp_replace(coalesce(i.category, ''), '\s+', '-', 'g'), '_', ' ') as "categories:token_seq"
from core.item as i
inner join core.protocol as d on i.dataset_id = d.dataset_id
where d.name = $dataset
order by i.item_id
