-- one row per run and segment of its sessions: how many they are, and the means of their metrics at $k. The segment is
-- that of the ground truth: cold, not in training; tail, among the least popular training items that hold at most a
-- fifth of the training interactions (items that are equally popular stay together); warm, the others
with popularity as (
    select
        dataset_id,
        item_id,
        train_popularity,
        sum(train_popularity) over (
            partition by dataset_id
            order by train_popularity range between unbounded preceding and current row
        ) as up_to_here,
        sum(train_popularity) over (partition by dataset_id) as total
    from core.item
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
    from core.session_rank as x
    inner join core.run as r on x.run_id = r.run_id
    inner join core.dataset as d on r.dataset_id = d.dataset_id
    inner join core.session as s on r.dataset_id = s.dataset_id and x.session_id = s.session_id
    inner join popularity as p on r.dataset_id = p.dataset_id and s.ground_truth = p.item_id
    where $dataset::varchar is null or d.name = $dataset
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
