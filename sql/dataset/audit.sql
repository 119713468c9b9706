-- one row per thing that endangers an evaluation: how many of what are affected
with tested as (
    select distinct session_id
    from core.target
    where split_id = $split_id and part = 'test'
),

sessions as (
    select
        s.session_id,
        p.part,
        p.train_length,
        s.length,
        t.session_id is not null as evaluated,
        max(x.time) filter (where x.position <= p.train_length) as trained_time,
        min(x.time) as first_time,
        max(x.time) as last_time,
        count(distinct x.time) as times,
        count(distinct x.item_id) as items,
        count(*) filter (where i.train_popularity > 0) as known_items
    from core.session as s
    inner join core.split_session as p on p.split_id = $split_id and s.session_id = p.session_id
    inner join core.interaction as x on s.dataset_id = x.dataset_id and s.session_id = x.session_id
    inner join core.split_item as i on i.split_id = $split_id and x.item_id = i.item_id
    left join tested as t on s.session_id = t.session_id
    where s.dataset_id = $dataset_id
    group by all
),

-- the point in time at which the split cuts: the last interaction of the first session that is tested
cut as (
    select min(last_time) as time
    from sessions
    where part in ('test', 'both')
),

endings as (
    select
        x.session_id,
        min(x.time) = max(x.time) as tied
    from core.interaction as x
    inner join core.session as s on x.dataset_id = s.dataset_id and x.session_id = s.session_id
    where
        x.dataset_id = $dataset_id
        and x.position >= s.length - 1
        and s.length > 1
    group by x.session_id
),

split as (
    select
        protocol ->> 'unseen_items' = 'keep' as keeps,
        protocol ->> 'repeats' = 'allow' as repeats
    from core.protocol
    where split_id = $split_id
),

histories as (
    select
        case_id,
        count(*) - 1 as items,
        count(*) filter (where item_id = ground_truth) > 1 as is_repeat
    from core.case_item
    where split_id = $split_id
    group by case_id
),

cases as (
    select
        count(*) as evaluated,
        count(*) filter (where items = 1) as single_history,
        count(*) filter (where is_repeat) as repeated
    from histories
),

counts as (
    select
        count(*) as sessions,
        count(*) filter (where train_length > 0) as train,
        count(*) filter (where part in ('test', 'both')) as test,
        count(*) filter (where times < length) as with_ties,
        count(*) filter (where items < length) as with_repeats,
        count(*) filter (where train_length > 0 and trained_time >= cut.time) as train_past_cut,
        count(*) filter (where part in ('test', 'both') and first_time < cut.time) as test_before_cut,
        count(*) filter (where part in ('test', 'both') and known_items < length) as test_with_unknown,
        count(*) filter (where part in ('test', 'both') and not evaluated) as dropped
    from sessions, cut
),

catalog as (
    select
        count(*) as items,
        count(*) filter (where t.train_popularity = 0) as test_only,
        count(*) filter (where i.title is null) as untitled
    from core.item as i
    inner join core.split_item as t on t.split_id = $split_id and i.item_id = t.item_id
    where i.dataset_id = $dataset_id
),

-- how often the rarest item occurs in all: the core that the dataset was cut to
core_size as (
    select min(popularity) as times
    from core.item
    where dataset_id = $dataset_id
),

-- what a k-core over all time says of the future: items that training saw less often than that come back
promised as (
    select count(*) as sessions
    from core.test_case as c
    inner join core.split_item as i on c.split_id = i.split_id and c.ground_truth = i.item_id
    cross join core_size
    where
        c.split_id = $split_id
        and core_size.times > 1
        and i.train_popularity < core_size.times
)

select
    1 as place,
    'sessions whose last two items have the same time' as finding,
    (select count(*) filter (where tied) from endings) as affected,
    sessions as total,
    'the tie-break decides what is the ground truth; compare only figures with the same one' as consequence
from counts
union all
select
    2,
    'sessions with any tied times',
    with_ties,
    sessions,
    'their inner order is the tie-break''s, not the user''s'
from counts
union all
select
    3,
    'sessions that hold an item more than once',
    with_repeats,
    sessions,
    if(
        split.repeats,
        cases.repeated || ' ground truths stand in their history; lists may hold such items',
        cases.repeated || ' ground truths stand in their history and cannot be hit; --repeats allow lets them be'
    )
from counts, cases, split
union all
select
    4,
    'training sessions that reach the split point',
    train_past_cut,
    train,
    if(
        protocol.kind = 'sessions',
        'they end at the very time of the first test session; the name''s md5 decides on which side they fall',
        'models learn what other users do at the time of what is tested, and after it'
    )
from counts, core.protocol
where protocol.split_id = $split_id
union all
select
    5,
    'test sessions that begin before the split point',
    test_before_cut,
    test,
    'their early items lie in the time that models were trained on'
from counts
union all
select
    6,
    'items that occur only in test sessions',
    test_only,
    items,
    if(
        keeps,
        'they stay: only models that know their text can recommend them, with --set cold_items=true',
        'they are taken out of the histories and cannot be recommended'
    )
from catalog, split
union all
select
    7,
    if(keeps, 'test sessions that hold such items', 'test sessions that lose such items'),
    test_with_unknown,
    test,
    if(
        keeps,
        'models without text see shorter histories than the user did',
        'their histories are shorter than what the user did'
    )
from counts, split
union all
select
    8,
    if(
        keeps,
        'test sessions left out for fewer than two items',
        'test sessions left out for fewer than two known items'
    ),
    dropped,
    test,
    'they are not evaluated'
from counts, split
union all
select
    9,
    'histories left with a single item',
    single_history,
    evaluated,
    'sequence models have nothing to work on there'
from cases
union all
select
    10,
    'ground truths that training saw less often than the rarest item occurs in all',
    promised.sessions,
    evaluated,
    'a k-core over all time says that they come back; new items are easier to guess than in service'
from cases, promised
union all
select
    11,
    'items without a title',
    untitled,
    items,
    'text embeddings know nothing of them'
from catalog
order by place
