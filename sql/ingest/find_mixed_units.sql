-- one row: of the rows from $first on, how many lie at the very start of 1970 (seconds read as milliseconds), and
-- how many numbers are far too large (milliseconds read as seconds). A count each, so that a scan looks only at blocks
-- in whose range such times lie.
select
    (
        select count(*)
        from staged_interaction
        where
            rowid >= $first
            and time between '1970-01-01 00:00:01'::timestamp and '1970-02-01'::timestamp
    ) as early,
    (
        select count(*)
        from staged_interaction
        where
            rowid >= $first
            and rejected_because is not null
            and regexp_matches(rejected_because, '^(no time|time out of range): ''-?\d{12,19}(\.\d+)?''$')
    ) as late
