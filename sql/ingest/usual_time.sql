-- one row: the median time, in seconds, of the rows just staged that lie between earliest and latest
select median(epoch(time)) as seconds
from staged_interaction
where rowid >= $first and time between $earliest::timestamp and $latest::timestamp
