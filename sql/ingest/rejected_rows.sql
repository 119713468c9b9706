-- one row per row of the file just staged that cannot be used: its number within the file, from 1, and why
select
    rowid - $first + 1 as number,
    rejected_because as reason
from staged_interaction
where rejected_because is not null and rejected_because <> $left_out and rowid >= $first
order by number
