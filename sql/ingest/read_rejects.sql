-- one row per record that DuckDB set aside while it scanned, with the error that tells most of it:
-- one is stored for each missing and each surplus column
select
    line,
    any_value(error_type::varchar) as kind,
    case when any_value(error_type::varchar) = 'TOO MANY COLUMNS'
        then arg_max(error_message, coalesce(column_idx, 0))
        else arg_min(error_message, coalesce(column_idx, 0))
    end as message
from reject_errors
group by line
order by line
