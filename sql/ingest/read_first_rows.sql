-- one row per item of a table: its first row, in the order of the file; names in braces are filled in by the reader
select
    min(number),
    {chosen}
from (
    select
        *,
        row_number() over () as number
    from {scan}
)
where item is not null
group by item::varchar
order by min(number)
