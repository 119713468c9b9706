-- one row: how many names share their code with another name
select
    (select count(*) - count(distinct user_code) from user_name)
    + (select count(*) - count(distinct item_code) from item_name) as clashes
