-- one row: the times below and above which a hundredth of the interactions lies; of many only a part is looked at
select
    quantiles[1] as early,
    quantiles[2] as late
from (
    select quantile_disc(time, [0.01, 0.99]) as quantiles
    from staged_interaction
    where rowid % $step = 0
)
