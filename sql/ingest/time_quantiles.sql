-- one row: the times below and above which a hundredth of the interactions lies; of many only a part is looked at
select
    quantile_disc(time, 0.01) as early,
    quantile_disc(time, 0.99) as late
from staged_interaction
where rowid % $step = 0
