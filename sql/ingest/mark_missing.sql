-- one row per interaction staged from $first on whose user or item is a word for none, such as NA; the column is filled
-- in by the reader. Apart from reading, for here a scan looks only at blocks in whose range the words lie.
update staged_interaction
set rejected_because = concat($reason, ': ''', {column}, '''')
where
    {missing}
    and rowid >= $first
    and rejected_because is null
