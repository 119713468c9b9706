-- one row per way to ask that was used before: its number
select asking_id
from core.asking
where dataset_id = $dataset_id and digest = $digest
