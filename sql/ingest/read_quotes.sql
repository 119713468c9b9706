-- one row: how many lines of a TSV file hold a quote inside a field or one that its field does not end with, and how
-- many hold wholly quoted fields; the name in braces is filled in by the reader
select
    count(*) filter (where regexp_matches(line, '(^|\t)([^"\t][^\t]*"[^\t]*|"[^"\t]*("[^"\t]+)*("[^"\t]+)?)(\t|$)')) as text,
    count(*) filter (where regexp_matches(line, '(^|\t)"([^"]|"")*"(\t|$)')) as whole
from {lines}
where contains(line, '"')
