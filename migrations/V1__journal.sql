-- The schema of a Rejoin database. Everything lives in the connection's default schema; no right beyond it is needed.
-- Released migrations are never edited: the next change is a new file.

create function rejoin_json(bytes bytea) returns json
    language sql immutable strict parallel safe
    as $$ select convert_from(bytes, 'UTF8')::json $$;
comment on function rejoin_json(bytea) is 'JSON text as it was stored, digit for digit.';

-- Workflows ------------------------------------------------------------------------------------------------------------------

create table workflows (
    namespace text collate "C" not null,
    name text collate "C" not null,
    version integer not null check (version >= 1),
    digest text not null,
    document bytea not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (namespace, name, version),
    unique (namespace, name, digest)
);
comment on table workflows is 'Registered versions of workflow definitions. Never changed, so that a run can be folded for ever.';
comment on column workflows.namespace is 'The wall between tenants it lives in.';
comment on column workflows.name is 'Name of the workflow.';
comment on column workflows.version is 'Counted from 1 within the name.';
comment on column workflows.digest is 'SHA-256 of the document, hex: the same document is the same version.';
comment on column workflows.document is 'Canonical JSON text.';
comment on column workflows.created_at is 'When it was registered.';

-- Runs -----------------------------------------------------------------------------------------------------------------------

create table runs (
    id uuid primary key,
    namespace text collate "C" not null,
    partition smallint not null check (partition = (get_byte(uuid_send(id), 15) & 63)),
    workflow text collate "C" not null,
    version integer not null check (version >= 1),
    status text not null check (status in ('scheduled', 'running', 'waiting', 'paused', 'compensating', 'completed', 'failed',
        'compensation_failed', 'cancelled')),
    priority text not null check (priority in ('high', 'normal', 'low')),
    input bytea not null,
    context bytea,
    output bytea,
    error bytea,
    compensated boolean not null default false,
    idempotency_key text,
    parent uuid,
    steps_total bigint not null,
    steps_done bigint not null,
    steps_failed bigint not null,
    steps_running bigint not null,
    steps_waiting bigint not null,
    dispatched bigint not null,
    redelivered bigint not null,
    duplicate bigint not null,
    late bigint not null,
    wake_at timestamptz,
    created_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz,
    active_at timestamptz not null
) with (fillfactor = 75);
create index runs_newest on runs (namespace, id);
create index runs_of_workflow on runs (namespace, workflow, id);
create index runs_in_state on runs (namespace, status, id) where status <> 'completed';
create index runs_open on runs (partition)
    where status in ('scheduled', 'running', 'waiting', 'paused', 'compensating');
create index runs_of_parent on runs (parent, id) where parent is not null;
create index runs_by_suffix on runs (namespace, reverse(id::text) text_pattern_ops);
comment on table runs is 'A run as lists show it. The truth is its journal; progress stands in columns without an index, so that '
    'its updates stay on the page (HOT).';
comment on column runs.id is 'UUID v7; the low six bits of its last byte are the partition.';
comment on column runs.namespace is 'The wall between tenants it lives in.';
comment on column runs.partition is 'The share of all runs it belongs to, derived from the id.';
comment on column runs.workflow is 'Name of the workflow it runs.';
comment on column runs.version is 'Version of the workflow it runs.';
comment on column runs.status is 'State of the run.';
comment on column runs.priority is 'Order among runs when dispatch credit is short.';
comment on column runs.input is 'JSON text the run was started with.';
comment on column runs.context is 'JSON text of the outermost context, once the run has ended.';
comment on column runs.output is 'JSON text of the output, once the run has ended.';
comment on column runs.error is 'JSON text of the error value, once the run has failed.';
comment on column runs.compensated is 'Whether completed steps were compensated.';
comment on column runs.idempotency_key is 'Key the run was started with.';
comment on column runs.parent is 'The run that started it as its child.';
comment on column runs.steps_total is 'Steps opened so far.';
comment on column runs.steps_done is 'Steps completed.';
comment on column runs.steps_failed is 'Steps failed.';
comment on column runs.steps_running is 'Steps dispatched and not recorded yet.';
comment on column runs.steps_waiting is 'Steps that wait for a timer, an event or an answer.';
comment on column runs.dispatched is 'Attempts published.';
comment on column runs.redelivered is 'Attempts delivered or published again.';
comment on column runs.duplicate is 'Completions of what was recorded already.';
comment on column runs.late is 'Completions that came after they mattered.';
comment on column runs.wake_at is 'Earliest due time of a run that may leave memory.';
comment on column runs.created_at is 'When it was started, or scheduled.';
comment on column runs.started_at is 'When it first left the state scheduled.';
comment on column runs.finished_at is 'When it ended; null again after a resume.';
comment on column runs.active_at is 'When this row was last written: what a takeover loads first.';

create table tags (
    run_id uuid not null,
    namespace text collate "C" not null,
    key text collate "C" not null,
    value text collate "C" not null,
    primary key (run_id, key)
);
create index tags_by_value on tags (namespace, key, value, run_id);
comment on table tags is 'Tags of runs, to find runs by.';
comment on column tags.run_id is 'The run.';
comment on column tags.namespace is 'The namespace of the run.';
comment on column tags.key is 'Name of the tag.';
comment on column tags.value is 'Value of the tag.';

-- The journal ----------------------------------------------------------------------------------------------------------------

create table journal_kinds (
    id smallint generated always as identity primary key,
    name text not null unique
);
comment on table journal_kinds is 'Names of the kinds of records; a new kind gets its number when it is first appended.';
comment on column journal_kinds.id is 'What stands in the journal.';
comment on column journal_kinds.name is 'What the API shows.';
insert into journal_kinds (name)
    values ('run_started'), ('scope_opened'), ('branch_started'), ('step_completed'), ('step_failed'), ('retry_scheduled'),
        ('timer_set'), ('timer_fired'), ('wait_opened'), ('event_received'), ('input_answered'), ('scope_joined'), ('decision'),
        ('context_set'), ('child_started'), ('child_finished'), ('late'), ('run_paused'), ('run_resumed'), ('run_edited'),
        ('run_finished');

create table journal (
    run_id uuid not null,
    seq bigint not null check (seq >= 1),
    at timestamptz not null default clock_timestamp(),
    attempt integer check (attempt >= 0),
    format smallint not null,
    kind smallint not null,
    outcome smallint check (outcome between 1 and 5),
    path text,
    worker text,
    body bytea not null,
    output bytea,
    snapshot bytea,
    logs bytea,
    primary key (run_id, seq)
) with (fillfactor = 100, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
comment on table journal is 'All that happened to a run, in order; appended, never changed. The state of a run is the fold of it.';
comment on column journal.run_id is 'The run.';
comment on column journal.seq is 'Place in the run''s journal, from 1, without gaps.';
comment on column journal.at is 'Time of the append.';
comment on column journal.attempt is 'The attempt it is about.';
comment on column journal.format is 'Layout of body.';
comment on column journal.kind is 'Number of the kind, see journal_kinds.';
comment on column journal.outcome is 'How the attempt ended: 1 ok, 2 error, 3 timeout, 4 lost, 5 cancelled.';
comment on column journal.path is 'The node visit it is about.';
comment on column journal.worker is 'Who ran the attempt.';
comment on column journal.body is 'JSON text of the record, without what has a column of its own.';
comment on column journal.output is 'JSON text of a step''s output.';
comment on column journal.snapshot is 'JSON text: what the branch changed, or output and context.';
comment on column journal.logs is 'JSON list of lines the attempt logged.';

create table deleted_runs (
    run_id uuid primary key,
    deleted_at timestamptz not null default clock_timestamp()
);
comment on table deleted_runs is 'Runs that are deleted while rows of their journals still are being removed, in portions.';
comment on column deleted_runs.run_id is 'The run.';
comment on column deleted_runs.deleted_at is 'When it was deleted.';

-- Ownership ------------------------------------------------------------------------------------------------------------------

create table members (
    name text collate "C" not null,
    incarnation uuid not null,
    address text not null,
    joined_at timestamptz not null default clock_timestamp(),
    lease_until timestamptz not null,
    primary key (name, incarnation)
) with (fillfactor = 50);
comment on table members is 'Coordinator processes, one row a start.';
comment on column members.name is 'Stable name.';
comment on column members.incarnation is 'Drawn at each start.';
comment on column members.address is 'Where its API listens.';
comment on column members.joined_at is 'When it joined.';
comment on column members.lease_until is 'Until when it counts as alive unless it renews.';

create table partitions (
    number smallint primary key check (number between 0 and 63),
    owner_name text,
    owner_incarnation uuid,
    owner_address text,
    epoch bigint not null default 0,
    token bigint not null default 0,
    batch bigint not null default 0,
    has_events boolean not null default false,
    check ((owner_name is null) = (owner_incarnation is null) and (owner_name is null) = (owner_address is null))
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
comment on table partitions is 'The fixed shares of all runs, and the chain of batches that each owner appends.';
comment on column partitions.number is 'Which share.';
comment on column partitions.owner_name is 'Name of the owner, if any.';
comment on column partitions.owner_incarnation is 'Which start of the owner.';
comment on column partitions.owner_address is 'Where the owner''s API listens.';
comment on column partitions.epoch is 'Rises with each takeover and release.';
comment on column partitions.token is 'Drawn at each takeover, so that no two owners share an epoch.';
comment on column partitions.batch is 'Number of the last batch appended under this epoch.';
comment on column partitions.has_events is 'Whether its event queue was ever used.';
insert into partitions (number) select generate_series(0, 63);

-- The inbox ------------------------------------------------------------------------------------------------------------------

create table inbox (
    id bigint generated always as identity primary key,
    partition smallint not null check (partition between 0 and 63),
    run_id uuid not null,
    kind text not null,
    body bytea not null,
    dedupe_key text collate "C",
    wants_verdict boolean not null,
    verdict bytea,
    put_at timestamptz not null default clock_timestamp(),
    answered_at timestamptz,
    check ((verdict is null) = (answered_at is null)),
    unique (run_id, dedupe_key)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create index inbox_waiting on inbox (partition, id) where verdict is null;
create index inbox_answered on inbox (answered_at) where answered_at is not null;
comment on table inbox is 'Commands and messages on their way to the owner of a run.';
comment on column inbox.id is 'Rises with time.';
comment on column inbox.partition is 'The partition of the run it is for.';
comment on column inbox.run_id is 'The run it is for.';
comment on column inbox.kind is 'What it asks for.';
comment on column inbox.body is 'JSON text.';
comment on column inbox.dedupe_key is 'A second message for the run with the same key is dropped.';
comment on column inbox.wants_verdict is 'Whether somebody waits for the verdict.';
comment on column inbox.verdict is 'JSON text of the verdict, until its asker has read it.';
comment on column inbox.put_at is 'When it was put.';
comment on column inbox.answered_at is 'When the verdict was left.';

create table idempotency_keys (
    namespace text collate "C" not null,
    key text collate "C" not null,
    run_id uuid not null,
    request_hash text not null,
    reserved_at timestamptz not null default clock_timestamp(),
    free_from timestamptz,
    primary key (namespace, key)
);
create index idempotency_keys_of_run on idempotency_keys (run_id);
create index idempotency_keys_free on idempotency_keys (free_from) where free_from is not null;
comment on table idempotency_keys is 'Which run a key was bound to, so that the same request never starts two.';
comment on column idempotency_keys.namespace is 'The wall between tenants it lives in.';
comment on column idempotency_keys.key is 'The key as the client chose it.';
comment on column idempotency_keys.run_id is 'The run it was bound to.';
comment on column idempotency_keys.request_hash is 'Hash of the request, to tell a repetition from another request.';
comment on column idempotency_keys.reserved_at is 'When it was bound.';
comment on column idempotency_keys.free_from is 'Set when the run is deleted: 24 hours after the run''s end.';

-- The append -----------------------------------------------------------------------------------------------------------------

create function rejoin_append(
    claim_partitions smallint[], claim_epochs bigint[], claim_tokens bigint[], claim_batches bigint[],
    new_ids uuid[], new_namespaces text[], new_workflows text[], new_versions integer[], new_statuses text[],
    new_priorities text[], new_inputs bytea[], new_contexts bytea[], new_outputs bytea[], new_errors bytea[],
    new_compensated boolean[], new_keys text[], new_parents uuid[], new_numbers bigint[], new_wake_at timestamptz[],
    new_created_at timestamptz[], new_started_at timestamptz[], new_finished_at timestamptz[],
    tag_runs uuid[], tag_namespaces text[], tag_keys text[], tag_values text[],
    row_format smallint, row_runs uuid[], row_seqs bigint[], row_kinds smallint[], row_paths text[], row_attempts integer[],
    row_outcomes smallint[], row_workers text[], row_bodies bytea[], row_outputs bytea[], row_snapshots bytea[], row_logs bytea[],
    run_ids uuid[], run_statuses text[], run_numbers bigint[], run_wake_at timestamptz[], run_reopened boolean[],
    run_ended boolean[], run_contexts bytea[], run_outputs bytea[], run_errors bytea[], run_compensated boolean[],
    sent_partitions smallint[], sent_runs uuid[], sent_kinds text[], sent_bodies bytea[], sent_keys text[],
    sent_wants boolean[],
    received_ids bigint[],
    answered_ids bigint[], answered_verdicts bytea[]
) returns timestamptz language plpgsql as $$
declare
    appended_at timestamptz;
    changed bigint;
begin
    -- First the chain: it takes the row locks that order this append against takeovers, sorted, and proves ownership.
    for i in 1 .. cardinality(claim_partitions) loop
        update partitions p set batch = p.batch + 1
            where p.number = claim_partitions[i] and p.epoch = claim_epochs[i] and p.token = claim_tokens[i]
                and p.batch = claim_batches[i];
        if not found then
            raise exception using errcode = 'RJ001', message = 'partition is not owned under this epoch and batch',
                detail = claim_partitions[i]::text;
        end if;
    end loop;
    -- Taken under the locks, so that the times of one run's records never go back with the same clock.
    appended_at := clock_timestamp();

    if cardinality(new_ids) > 0 then
        insert into runs (id, namespace, partition, workflow, version, status, priority, input, context, output, error,
                compensated, idempotency_key, parent, steps_total, steps_done, steps_failed, steps_running, steps_waiting,
                dispatched, redelivered, duplicate, late, wake_at, created_at, started_at, finished_at, active_at)
            select n.id, n.namespace, get_byte(uuid_send(n.id), 15) & 63, n.workflow, n.version, n.status, n.priority, n.input,
                n.context, n.output, n.error, n.compensated, n.key, n.parent, new_numbers[9 * ord - 8], new_numbers[9 * ord - 7],
                new_numbers[9 * ord - 6], new_numbers[9 * ord - 5], new_numbers[9 * ord - 4], new_numbers[9 * ord - 3],
                new_numbers[9 * ord - 2], new_numbers[9 * ord - 1], new_numbers[9 * ord], n.wake_at, n.created_at, n.started_at,
                n.finished_at, appended_at
            from unnest(new_ids, new_namespaces, new_workflows, new_versions, new_statuses, new_priorities, new_inputs,
                new_contexts, new_outputs, new_errors, new_compensated, new_keys, new_parents, new_wake_at, new_created_at,
                new_started_at, new_finished_at) with ordinality
                as n (id, namespace, workflow, version, status, priority, input, context, output, error, compensated, key,
                    parent, wake_at, created_at, started_at, finished_at, ord);
        insert into tags (run_id, namespace, key, value)
            select * from unnest(tag_runs, tag_namespaces, tag_keys, tag_values);
    end if;

    if cardinality(row_runs) > 0 then
        insert into journal (run_id, seq, at, attempt, format, kind, outcome, path, worker, body, output, snapshot, logs)
            select r.run, r.seq, appended_at, r.attempt, row_format, r.kind, r.outcome, r.path, r.worker, r.body, r.output,
                r.snapshot, r.logs
            from unnest(row_runs, row_seqs, row_kinds, row_paths, row_attempts, row_outcomes, row_workers, row_bodies,
                row_outputs, row_snapshots, row_logs)
                as r (run, seq, kind, path, attempt, outcome, worker, body, output, snapshot, logs);
    end if;

    if cardinality(run_ids) > 0 then
        update runs r set
            status = c.status, wake_at = c.wake_at, active_at = appended_at,
            steps_total = run_numbers[9 * ord - 8], steps_done = run_numbers[9 * ord - 7],
            steps_failed = run_numbers[9 * ord - 6], steps_running = run_numbers[9 * ord - 5],
            steps_waiting = run_numbers[9 * ord - 4], dispatched = run_numbers[9 * ord - 3],
            redelivered = run_numbers[9 * ord - 2], duplicate = run_numbers[9 * ord - 1], late = run_numbers[9 * ord],
            started_at = case when r.started_at is null and r.status = 'scheduled' and c.status <> 'scheduled'
                then appended_at else r.started_at end,
            finished_at = case when c.ended then appended_at when c.reopened then null else r.finished_at end,
            context = case when c.ended then c.context when c.reopened then null else r.context end,
            output = case when c.ended then c.output when c.reopened then null else r.output end,
            error = case when c.ended then c.error when c.reopened then null else r.error end,
            compensated = case when c.ended then c.compensated when c.reopened then false else r.compensated end
            from unnest(run_ids, run_statuses, run_wake_at, run_reopened, run_ended, run_contexts, run_outputs, run_errors,
                run_compensated) with ordinality
                as c (id, status, wake_at, reopened, ended, context, output, error, compensated, ord)
            where r.id = c.id;
        get diagnostics changed = row_count;
        if changed <> cardinality(run_ids) then
            raise exception using errcode = 'RJ002', message = 'a run to be changed is not there';
        end if;
    end if;

    if cardinality(received_ids) > 0 then
        delete from inbox where id = any(received_ids);
    end if;
    if cardinality(answered_ids) > 0 then
        update inbox i set verdict = a.verdict, answered_at = appended_at, body = 'null'
            from unnest(answered_ids, answered_verdicts) as a (id, verdict) where i.id = a.id;
    end if;
    if cardinality(sent_runs) > 0 then
        insert into inbox (partition, run_id, kind, body, dedupe_key, wants_verdict)
            select s.partition, s.run, s.kind, s.body, s.key, s.wants
            from unnest(sent_partitions, sent_runs, sent_kinds, sent_bodies, sent_keys, sent_wants) with ordinality
                as s (partition, run, kind, body, key, wants, ord)
            order by s.ord
            on conflict (run_id, dedupe_key) do nothing;
    end if;
    return appended_at;
end $$;
comment on function rejoin_append is 'Appends one batch, all or nothing, in one round trip. RJ001: not the owner (detail: the '
    'partition); RJ002: a run is not there.';

-- Views for other readers: they stay as they are ------------------------------------------------------------------------------

create view rejoin_runs as
    select id, namespace, partition, workflow, version, status as state, priority, rejoin_json(input) as input,
        rejoin_json(context) as context, rejoin_json(output) as output, rejoin_json(error) as error, compensated,
        (select json_object_agg(t.key, t.value order by t.key) from tags t where t.run_id = r.id) as tags,
        idempotency_key, parent, steps_total, steps_done, steps_failed, steps_running, steps_waiting, dispatched, redelivered,
        duplicate, late, wake_at, created_at, started_at, finished_at
    from runs r;
comment on view rejoin_runs is 'One row a run.';

create view rejoin_completions as
    select j.run_id, j.path, j.attempt,
        (array['ok', 'error', 'timeout', 'lost', 'cancelled'])[j.outcome] as outcome,
        j.seq, j.at as recorded_at, j.worker, rejoin_json(j.output) as output,
        case when json_typeof(rejoin_json(j.snapshot)) = 'object'
            then coalesce(rejoin_json(j.snapshot) -> '__context__', rejoin_json(j.snapshot))
            else rejoin_json(j.snapshot) end as context
    from journal j
    where j.attempt is not null
        and j.kind in (select id from journal_kinds where name in ('step_completed', 'step_failed', 'retry_scheduled'));
comment on view rejoin_completions is 'One row a recorded completion of an attempt; context is what the branch had changed, or the '
    'whole context where the workflow asks for full snapshots.';

create view rejoin_steps as
    select distinct on (j.run_id, j.path) j.run_id, j.path,
        case k.name when 'step_completed' then 'completed' when 'step_failed' then 'failed' else 'retrying' end as state,
        j.attempt, rejoin_json(j.output) as output, rejoin_json(j.body) -> 'error' as error, j.at as recorded_at
    from journal j join journal_kinds k on k.id = j.kind
    where j.attempt is not null and k.name in ('step_completed', 'step_failed', 'retry_scheduled')
    order by j.run_id, j.path, j.seq desc;
comment on view rejoin_steps is 'One row a visit of a step that has a recorded completion or failure: the last one.';
