-- one row: the finished trial of a model on a dataset with the largest value, of one study and with one set of
-- embeddings where they are named, and the first among equals
select
    study,
    trial,
    value,
    settings,
    inputs
from core.trial
where
    model = $model
    and split_id = $split_id
    and state = 'complete'
    and ($study::varchar is null or study = $study)
    and ($embeddings::varchar is null or inputs ->> 'embeddings' = $embeddings)
order by value desc, started_at asc, trial asc
limit 1
