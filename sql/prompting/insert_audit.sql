-- one row: what an audit of a model found by a probe
insert into core.model_audit values (
    $dataset_id, $split_id, $provider, $model, $probe, $asked, $recited, $control_asked, $control_recited, $low, $high,
    $recites, $marks, $now
)
