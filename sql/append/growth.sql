-- one row: what the new version of a dataset has that the old one has not
select
    (
        select count(*)
        from core.item as n
        anti join core.item as o on o.dataset_id = $old and n.external_id = o.external_id
        where n.dataset_id = $new
    ) as new_items,
    (
        select count(*)
        from core.session as n
        anti join core.session as o on o.dataset_id = $old and n.external_id = o.external_id
        where n.dataset_id = $new
    ) as new_sessions,
    (
        select count(*)
        from core.session as n
        inner join core.session as o on o.dataset_id = $old and n.external_id = o.external_id
        where n.dataset_id = $new and n.length > o.length
    ) as longer_sessions
