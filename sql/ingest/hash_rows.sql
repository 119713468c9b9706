-- one row per different interaction of a file, as a hash; of many only every $step-th hash
insert into row_hash
select distinct
    $file::integer as file,
    hash(user_id, item_id, time) as code
from staged_interaction
where
    rowid >= $first
    and rowid < $past_last
    and rejected_because is null
    and hash(user_id, item_id, time) % $step::ubigint = 0
