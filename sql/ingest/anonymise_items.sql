-- one row per item: its title and category become neutral words, the same whenever they are made; other attributes
-- go, and what has none stays without
update core.item
set
    title = case when title is not null then 'Item ' || left(md5(external_id), 8) end,
    category = case
        when category is null or regexp_full_match(category, 'Category [0-9a-f]{8}') then category
        else 'Category ' || left(md5(category), 8)
    end,
    fields = case when title is not null then json_object('title', 'Item ' || left(md5(external_id), 8)) end
where dataset_id = $dataset_id
