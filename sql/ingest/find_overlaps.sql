-- one row per pair of files that share interactions: how many, and how many the smaller of the two has
with sizes as (
    select
        file,
        count(*) as n
    from row_hash
    group by file
)

select
    one.file as one,
    other.file as other,
    count(*) as shared,
    any_value(least(size_one.n, size_other.n)) as least_rows
from row_hash as one
inner join row_hash as other on one.code = other.code and one.file < other.file
inner join sizes as size_one on one.file = size_one.file
inner join sizes as size_other on other.file = size_other.file
group by one.file, other.file
order by one.file, other.file
