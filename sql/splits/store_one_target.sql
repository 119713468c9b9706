-- one row per session with something to predict: of the items of its range that count, the first one or, where $targets
-- is "random", one by the md5 of name, position and seed; its history is all that stands before it, which must hold an
-- item that counts. Items that are never trained on count only where the split keeps them.
insert into core.target
with counted as (
    select * from countable($dataset_id, $split_id, $part, $keep)
),

begun as (
    select
        session_id,
        min(position) as position
    from counted
    group by session_id
),

eligible as (
    select
        c.session_id,
        c.position,
        c.item_id,
        row_number() over (
            partition by c.session_id
            order by
                case when $targets = 'random' then md5(s.external_id || ':' || c.position || ':' || $seed) end,
                c.position
        ) as choice
    from counted as c
    inner join begun as b on c.session_id = b.session_id and c.position > b.position
    inner join core.session as s on s.dataset_id = $dataset_id and c.session_id = s.session_id
    where c.position >= c.target_from
)

select
    $split_id,
    $part,
    row_number() over (order by session_id) - 1 as case_id,
    session_id,
    position,
    position - 1 as history_length,
    item_id
from eligible
where choice = 1
order by session_id
