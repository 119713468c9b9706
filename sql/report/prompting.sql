-- one row per run of a language model: how true its answers were, what had to be repaired of them and what they took
select
    r.name as run,
    d.name as dataset,
    r.label,
    replace(r.label, ' (base)', '') as task,
    if(
        ends_with(r.label, ' (base)') or (r.model = 'rerank' and r.settings ->> 'job' is null), 'base', 'fine-tuned'
    ) as kind,
    r.settings ->> 'model' as model,
    r.settings ->> 'base_model' as base_model,
    (r.settings ->> 'temperature')::double as temperature,
    r.sessions,
    (d.statistics ->> 'evaluated_sessions')::integer as dataset_sessions,
    hr.value as "hr@20",
    ndcg.value as "ndcg@20",
    (r.figures ->> 'unique_recommendations')::bigint as unique_recommendations,
    (r.figures ->> 'hallucination_rate')::double as hallucination_rate,
    (r.figures ->> 'hallucination_similarity')::double as hallucination_similarity,
    (r.figures ->> 'answers')::bigint as answers,
    (r.figures ->> 'empty_answers')::bigint as empty_answers,
    (r.figures ->> 'refused_answers')::bigint as refused_answers,
    coalesce((r.figures ->> 'parse_failures')::bigint, 0) as parse_failures,
    (r.figures ->> 'repaired_answers')::bigint as repaired_answers,
    (r.figures ->> 'left_out')::bigint as left_out,
    (r.figures ->> 'invented')::bigint as invented,
    (r.figures ->> 'repeated')::bigint as repeated,
    (r.figures ->> 'undecided_comparisons')::bigint as undecided_comparisons,
    (r.figures ->> 'prompt_tokens')::bigint as prompt_tokens,
    (r.figures ->> 'completion_tokens')::bigint as completion_tokens,
    (r.figures ->> 'cost_usd')::double as cost_usd
from core.run as r
inner join core.protocol as d on r.split_id = d.split_id
left join core.metric as hr on r.run_id = hr.run_id and hr.metric = 'hr' and hr.k = 20
left join core.metric as ndcg on r.run_id = ndcg.run_id and ndcg.metric = 'ndcg' and ndcg.k = 20
where
    ($dataset::varchar is null or $dataset in (d.name, d.dataset, d.dataset || '/' || d.split, '/' || d.split))
    and r.figures ->> 'answers' is not null
order by d.name, task, base_model, kind, r.run_id
