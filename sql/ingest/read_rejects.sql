-- one row per record that DuckDB set aside while it scanned: the kind of error, and for a record of other width how many
-- columns were expected and found. DuckDB stores an error for each missing and each surplus column, counted from 0 and
-- from 1; of several kinds the last of its list tells most.
select
    line,
    max(error_type)::varchar as kind,
    case max(error_type)::varchar
        when 'MISSING COLUMNS' then max(column_idx) + 1
        when 'TOO MANY COLUMNS' then min(column_idx) - 1
    end as expected,
    case max(error_type)::varchar
        when 'MISSING COLUMNS' then min(column_idx)
        when 'TOO MANY COLUMNS' then max(column_idx)
    end as found,
    min(error_message) as message
from reject_errors
group by line
order by line
