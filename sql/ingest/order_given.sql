-- one row: whether the input says in what parts it comes, and whether it has sort keys
select
    count(part) > 0 as in_parts,
    count(sort_key) > 0 as has_keys
from staged_interaction
