-- one row: a trial that has ended
insert into core.trial (
    study, trial, split_id, model, settings, inputs, value, state, folds, seconds, started_at, ended_at, error
)
values (
    $study, $trial, $split_id, $model, $settings, $inputs, $value, $state, $folds, $seconds, $started_at, $ended_at,
    $error
)
