-- one row: the number of a new dataset; its statistics follow when its sessions are stored
insert into core.dataset (name, ingested_at, source, protocol, statistics)
values ($name, $now, $source, $protocol, '{}')
returning dataset_id
