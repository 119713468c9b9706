-- one row at most goes: what an earlier audit of a model found by a probe
delete from core.model_audit
where split_id = $split_id and provider = $provider and model = $model and probe = $probe
