-- one row per item of the sessions of a block, oldest first
select
    number,
    item,
    epoch_us(time) as moment
from scored_history
where number >= $start and number < $stop
order by number asc, position asc
