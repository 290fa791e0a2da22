-- The views of completions and steps show parked attempts, and what an operator decided about them.

create or replace view rejoin_completions as
    select j.run_id, j.path, j.attempt,
        (array['ok', 'error', 'timeout', 'lost', 'cancelled'])[j.outcome] as outcome,
        j.seq, j.at as recorded_at, j.worker, rejoin_json(j.output) as output,
        case when json_typeof(rejoin_json(j.snapshot)) = 'object'
            then coalesce(rejoin_json(j.snapshot) -> '__context__', rejoin_json(j.snapshot))
            else rejoin_json(j.snapshot) end as context
    from journal j
    where j.attempt is not null
        and j.kind in (select id from journal_kinds
            where name in ('step_completed', 'step_failed', 'retry_scheduled', 'step_parked'));

create or replace view rejoin_steps as
    with known (kind, state, is_decided) as (
        values ('step_completed', 'completed', false), ('step_failed', 'failed', false), ('retry_scheduled', 'retrying', false),
            ('step_parked', 'parked', false), ('step_retried', 'retrying', true), ('step_skipped', 'skipped', true),
            ('step_given_up', 'failed', true)
    )
    select distinct on (j.run_id, j.path) j.run_id, j.path, known.state,
        -- What an operator decided about a parked step is no attempt of its own: it is about the last one.
        coalesce(j.attempt, max(j.attempt) over (partition by j.run_id, j.path)) as attempt,
        rejoin_json(j.output) as output, rejoin_json(j.body) -> 'error' as error, j.at as recorded_at
    from journal j join journal_kinds k on k.id = j.kind join known on known.kind = k.name
    where j.attempt is not null or known.is_decided
    order by j.run_id, j.path, j.seq desc;
comment on view rejoin_steps is 'One row a visit of a step that has a recorded completion or failure, or about whose parked attempt '
    'an operator has decided: the last one.';
