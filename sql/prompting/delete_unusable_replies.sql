-- one row per reply that goes: those of an asking that come twice, or whose samples do not go on 0, 1, 2 …
delete from core.reply
where
    asking_id = $asking_id
    and rowid in (
        select n.row_id
        from (
            select
                rowid as row_id,
                sample,
                dense_rank() over (partition by session_id, prompt_hash order by sample < 0, sample) - 1 as place,
                row_number() over (partition by session_id, prompt_hash, sample order by rowid) as copy
            from core.reply
            where asking_id = $asking_id
        ) as n
        where n.sample <> n.place or n.copy > 1
    )
