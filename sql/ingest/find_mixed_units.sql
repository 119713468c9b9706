-- one row: of the rows from $first on, how many lie at the very start of 1970 (seconds read as milliseconds), and
-- how many numbers are far too large (milliseconds read as seconds)
select
    count(*) filter (where time between '1970-01-01 00:00:01'::timestamp and '1970-02-01'::timestamp) as early,
    count(*) filter (
        where
        regexp_matches(rejected_because, '^(no time|time out of range): ''-?\d{12,19}(\.\d+)?''$')
    ) as late
from staged_interaction
where rowid >= $first
