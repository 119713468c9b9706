-- one row per different user, item and time: the first of the input
delete from staged_interaction
where rowid not in (
    select min(rowid)
    from staged_interaction
    group by user_id, item_id, time
)
