-- one row at most: an earlier audit of a model by a probe that asked more questions
select asked
from core.model_audit
where
    split_id = $split_id and provider = $provider and model = $model and probe = $probe
    and asked > $asked
