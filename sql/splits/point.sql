-- one row: the earliest time at which at least this share of the interactions has happened
select quantile_disc(time, $share)
from core.interaction
where dataset_id = $dataset_id
