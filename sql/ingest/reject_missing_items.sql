-- one row per row just staged whose item is a word for none; words: those of `is_missing`
update staged_interaction
set rejected_because = 'no item: ''' || item_id || ''''
where rowid >= $first and rejected_because is null and item_id in $words
