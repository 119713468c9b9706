-- one row per key of a table: its first row, in the order of the file; names in braces are filled in by the reader
select
    min(number),
    {chosen}
from (
    select
        *,
        row_number() over () as number
    from {scan}
)
where {key} is not null
group by {key}::varchar
order by min(number)
