-- one row: how many interactions of the parts the whole lacks, and how many rows of the whole are in none of its parts
select
    (
        select count(*)
        from staged_part as p
        anti join staged_interaction as x
            on p.user_id = x.user_id and p.item_id = x.item_id and p.time = x.time
    ) as lacking,
    (
        select count(*)
        from staged_interaction as x
        anti join staged_part as p
            on x.user_id = p.user_id and x.item_id = p.item_id and x.time = p.time
        where x.rejected_because is null
    ) as unmarked
