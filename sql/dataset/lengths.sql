-- one row per class of session lengths: how many sessions fall into it
select
    case
        when length < 10 then length::varchar
        when length < 20 then '10-19'
        when length < 50 then '20-49'
        when length < 100 then '50-99'
        else '100+'
    end as length,
    count(*) as sessions
from core.session
where dataset_id = $dataset_id
group by all
order by min(core.session.length)
