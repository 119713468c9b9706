-- what the queries that store items to predict have in common

-- one row per interaction up to the end of its session's range that counts: items that are never trained on count only
-- where the split keeps them. The range of a part starts at target_from.
create or replace temp macro countable(of_dataset, of_split, of_part, with_unseen) as table
    with ranges as (
        select
            session_id,
            if(of_part = 'test', test_from, valid_from) as target_from,
            if(of_part = 'test', test_to, valid_to) as target_to
        from split_cut
        where if(of_part = 'test', test_from, valid_from) is not null
    )

    select
        x.session_id,
        x.position,
        x.item_id,
        r.target_from
    from core.interaction as x
    inner join ranges as r on x.session_id = r.session_id and x.position <= r.target_to
    inner join core.split_item as i on i.split_id = of_split and x.item_id = i.item_id
    where
        x.dataset_id = of_dataset
        and (with_unseen or i.train_popularity > 0);
