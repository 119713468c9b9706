-- one row per row that was staged before row `first`: takes back the file that was begun last
create or replace temp table staged_interaction as
select * from staged_interaction
where rowid < $first
order by rowid
