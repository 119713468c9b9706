-- one row: a new way to ask, with its number
insert into core.asking (dataset_id, digest, about, created_at)
values ($dataset_id, $digest, $about, $now)
returning asking_id
