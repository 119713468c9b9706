-- one row per item of a set that has a text: what was embedded; text_hash where its vector is in the cache
insert into core.item_text
select
    $embedding_id,
    item_id,
    text,
    nullif(text_hash, '')
from text_columns
order by item_id
