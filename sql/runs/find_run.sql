-- one row per run that the name may mean, the meant one first: a run's own name or number, else "latest" (the newest),
-- else a model's name: of its newest validated run and those that were validated like it the best by validation; where
-- no run was validated, the newest. What runs reach on test sessions plays no part. by_validation says which it was,
-- others how many more runs the name may mean
with meant as (
    select
        r.run_id,
        r.name as run,
        d.name as dataset,
        r.model,
        r.label,
        r.seed,
        r.settings,
        r.embeddings,
        r.list_length,
        r.split_id,
        r.name = $name as is_named,
        r.settings ->> 'validation' as validated_how,
        if($name = 'latest', null, (r.figures ->> 'validation_ndcg')::double) as validation
    from core.run as r
    inner join core.protocol as d on r.split_id = d.split_id
    where
        ($dataset::varchar is null or $dataset in (d.name, d.dataset || '/' || d.split, '/' || d.split))
        and (
            (r.run_id = $run_id and $name in (r.name, r.run_id::varchar))
            or $name = 'latest'
            or r.model = $name
        )
),

newest_validated as (
    select
        split_id,
        validated_how
    from meant
    where validation is not null
    order by run_id desc
    limit 1
),

compared as (
    select
        m.*,
        if(n.split_id is null, null, m.validation) as value
    from meant as m
    left join newest_validated as n
        on m.split_id = n.split_id and m.validated_how is not distinct from n.validated_how
)

select
    run_id,
    run,
    dataset,
    model,
    label,
    seed,
    settings,
    embeddings,
    list_length,
    value is not null as by_validation,
    count(*) over () - 1 as others
from compared
order by
    is_named desc,
    value desc nulls last,
    run_id desc
limit 1
