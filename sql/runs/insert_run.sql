-- one row: a finished run
insert into core.run (
    run_id, dataset_id, split_id, model, label, status, seed, settings, embeddings, environment, figures, sessions,
    list_length, started_at
)
values (
    $run_id, $dataset_id, $split_id, $model, $label, 'done', $seed, $settings, $embeddings, $environment, $figures,
    $sessions, $list_length, $started_at
)
