-- one row per run and segment of its sessions: how many they are, and the means of their metrics at $k. The segment is
-- that of the ground truth: cold, not in training; tail, among the least popular training items that hold at most a
-- fifth of the training interactions (items that are equally popular stay together); warm, the others
with popularity as (
    select
        split_id,
        item_id,
        train_popularity,
        sum(train_popularity) over (
            partition by split_id
            order by train_popularity range between unbounded preceding and current row
        ) as up_to_here,
        sum(train_popularity) over (partition by split_id) as total
    from core.split_item
),

ranks as (
    select
        r.run_id,
        case
            when p.train_popularity = 0 then 'cold'
            when 5 * p.up_to_here <= p.total then 'tail'
            else 'warm'
        end as segment,
        if(x.rank <= $k, x.rank, null) as rank
    from core.case_rank as x
    inner join core.run as r on x.run_id = r.run_id
    inner join core.protocol as d on r.split_id = d.split_id
    inner join core.test_case as s on r.split_id = s.split_id and x.case_id = s.case_id
    inner join popularity as p on r.split_id = p.split_id and s.ground_truth = p.item_id
    where $dataset::varchar is null or $dataset in (d.name, d.dataset, d.dataset || '/' || d.split, '/' || d.split)
)

select
    run_id,
    segment,
    count(*) as sessions,
    avg(coalesce(1 / log2(rank + 1), 0)) as ndcg,
    avg((rank is not null)::integer) as hr,
    avg(coalesce(1 / rank, 0)) as mrr
from ranks
group by run_id, segment
order by run_id, segment
