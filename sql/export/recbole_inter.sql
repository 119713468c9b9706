-- one row per interaction of a split's part (train, valid, test or, where null, all of the dataset), in the order of
-- the sessions, which equal times leave open. test and valid: what is to be predicted, and for sessions that are not
-- trained on what their histories are made of
with asked as (
    select
        t.split_id,
        t.session_id,
        max(t.history_length) as history_length
    from core.target as t
    where t.part = if($part = 'valid', 'validation', $part)
    group by t.split_id, t.session_id
),

chosen as (
    select
        x.session_id,
        x.position
    from core.interaction as x
    inner join core.protocol as d on x.dataset_id = d.dataset_id
    inner join core.split_session as p on d.split_id = p.split_id and x.session_id = p.session_id
    left join core.split_item as i on d.split_id = i.split_id and x.item_id = i.item_id
    left join asked as t on d.split_id = t.split_id and x.session_id = t.session_id
    left join core.target as y
        on
            d.split_id = y.split_id
            and x.session_id = y.session_id
            and x.position = y.position
            and y.part = if($part = 'valid', 'validation', $part)
    where
        d.name = $dataset
        and (
            $part::varchar is null
            or ($part = 'train' and x.position <= p.train_length)
            or y.position is not null
            or (
                $part <> 'train'
                and p.train_length = 0
                and x.position <= t.history_length
                and (i.train_popularity > 0 or d.protocol ->> 'unseen_items' = 'keep')
            )
        )
)

select
    s.external_id as "user_id:token",
    i.external_id as "item_id:token",
    epoch(x.time)::bigint as "timestamp:float"
from chosen as c
inner join core.protocol as d on d.name = $dataset
inner join core.interaction as x
    on d.dataset_id = x.dataset_id and c.session_id = x.session_id and c.position = x.position
inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
inner join core.item as i on x.dataset_id = i.dataset_id and x.item_id = i.item_id
order by x.session_id, x.position
