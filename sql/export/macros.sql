-- how texts go into files for other programs

-- a text as a cell of a CSV file: a ' before what a spreadsheet would run as a formula
create or replace temp macro safe_cell(cell) as
if(
    regexp_matches(cell, '^[-=+@\t\r]') and not regexp_full_match(cell, '[-+]?[0-9]+([.,][0-9]+)*'),
    '''' || cell,
    cell
);

-- an id as trec_eval reads it: in URL code where it has spaces, control characters or %
create or replace temp macro trec_id(id) as
if(regexp_matches(id, '[\s\p{Z}\p{Cc}%]'), url_encode(id), id);
