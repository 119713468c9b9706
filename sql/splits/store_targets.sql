-- one row per item to predict, by session and position. $targets: each item of a session's range that counts, with all
-- that stands before it as its history ("successive") or what stands before the range ("all"). A history must hold an
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
)

select
    $split_id,
    $part,
    row_number() over (order by c.session_id, c.position) - 1 as case_id,
    c.session_id,
    c.position,
    if($targets = 'all', c.target_from, c.position) - 1 as history_length,
    c.item_id
from counted as c
inner join begun as b on c.session_id = b.session_id
where
    c.position >= c.target_from
    and b.position < if($targets = 'all', c.target_from, c.position)
order by c.session_id, c.position
