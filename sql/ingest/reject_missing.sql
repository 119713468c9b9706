-- one row per row just staged that has a word for none as its user or item; names in braces are filled in by the reader
update staged_interaction
set rejected_because = 'no {role}: ''' || {column} || ''''
where rowid >= $first and rejected_because is null and {is_missing}
