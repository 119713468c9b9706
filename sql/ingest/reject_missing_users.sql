-- one row per row just staged whose user is a word for none; words: those of `is_missing`
update staged_interaction
set rejected_because = 'no user: ''' || user_id || ''''
where rowid >= $first and rejected_because is null and user_id in $words
