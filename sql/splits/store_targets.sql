-- one row per item to predict, by session and position. $targets: of the items of a session's range that count,
-- "first" takes the first, "random" one by the md5 of name, position and seed, "successive" each, with all that stands
-- before it as its history, "all" each, with what stands before the range. A history must hold an item that counts.
-- Items that are never trained on count only where the split keeps them.
insert into core.target
with ranges as (
    select
        session_id,
        if($part = 'test', test_from, valid_from) as target_from,
        if($part = 'test', test_to, valid_to) as target_to
    from split_cut
    where if($part = 'test', test_from, valid_from) is not null
),

counted as (
    select
        x.session_id,
        x.position,
        x.item_id,
        r.target_from,
        if($targets = 'all', r.target_from, x.position) - 1 as history_length,
        row_number() over (partition by x.session_id order by x.position) - 1 as before,
        count(*) filter (where x.position < r.target_from) over (partition by x.session_id) as before_range
    from core.interaction as x
    inner join ranges as r on x.session_id = r.session_id and x.position <= r.target_to
    inner join core.split_item as i on i.split_id = $split_id and x.item_id = i.item_id
    where
        x.dataset_id = $dataset_id
        and ($keep or i.train_popularity > 0)
),

eligible as (
    select
        c.*,
        row_number() over (
            partition by c.session_id
            order by
                case when $targets = 'random' then md5(s.external_id || ':' || c.position || ':' || $seed) end,
                c.position
        ) as choice
    from counted as c
    inner join core.session as s on s.dataset_id = $dataset_id and c.session_id = s.session_id
    where
        c.position >= c.target_from
        and if($targets = 'all', c.before_range, c.before) >= 1
)

select
    $split_id,
    $part,
    row_number() over (order by session_id, position) - 1 as case_id,
    session_id,
    position,
    history_length,
    item_id
from eligible
where $targets in ('successive', 'all') or choice = 1
order by session_id, position
