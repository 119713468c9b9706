-- one row per different interaction of the first file, as a hash; of many only every $step-th hash
create or replace temp table row_hash as
select distinct
    $file::integer as file,
    hash(user_id, item_id, time) as code
from staged_interaction
where
    rowid >= $first
    and rowid < $past_last
    and rejected_because is null
    and hash(user_id, item_id, time) % $step::ubigint = 0
