-- one row per item of a split: how often it occurs in what is trained on
insert into core.split_item
with train as (
    select
        x.item_id,
        count(*) as n
    from core.interaction as x
    inner join split_cut as c on x.session_id = c.session_id and x.position <= c.train_length
    where x.dataset_id = $dataset_id
    group by x.item_id
)

select
    $split_id,
    i.item_id,
    coalesce(train.n, 0)
from core.item as i
left join train on i.item_id = train.item_id
where i.dataset_id = $dataset_id
order by i.item_id
