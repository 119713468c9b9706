-- one row: the number of a new split; its statistics follow when its parts are stored
insert into core.split (dataset_id, name, kind, rule, statistics, made_at)
values ($dataset_id, $name, $kind, $rule, '{}', $now)
returning split_id
