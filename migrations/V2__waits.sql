-- Waits for events and answers: rows for those who look for waits without reading journals. The truth is the journal.

create table waits (
    run_id uuid not null,
    seq bigint not null,
    namespace text collate "C" not null,
    workflow text collate "C" not null,
    name text collate "C" not null,
    path text not null,
    is_input boolean not null,
    body bytea not null,
    opened_at timestamptz not null,
    until timestamptz,
    primary key (run_id, seq)
);
create index waits_for_input on waits (namespace, run_id, seq) where is_input;
comment on table waits is 'Waits that are open, each written and removed with the records that open and end it.';
comment on column waits.run_id is 'The run that waits.';
comment on column waits.seq is 'The record of its journal that opened the wait.';
comment on column waits.namespace is 'The namespace of the run.';
comment on column waits.workflow is 'Name of the workflow it runs.';
comment on column waits.name is 'Name of the node.';
comment on column waits.path is 'The node visit.';
comment on column waits.is_input is 'Whether a human answer is awaited.';
comment on column waits.body is 'JSON text: what is asked.';
comment on column waits.opened_at is 'When it opened.';
comment on column waits.until is 'When it times out.';

create table wait_events (
    namespace text collate "C" not null,
    event text collate "C" not null,
    run_id uuid not null,
    seq bigint not null,
    primary key (namespace, event, run_id, seq),
    foreign key (run_id, seq) references waits on delete cascade
);
create index wait_events_of_wait on wait_events (run_id, seq);
comment on table wait_events is 'Which events open waits name, to reach all runs that wait for one.';
comment on column wait_events.namespace is 'The namespace of the run.';
comment on column wait_events.event is 'Name of the event.';
comment on column wait_events.run_id is 'The run that waits.';
comment on column wait_events.seq is 'The record that opened the wait.';

create function rejoin_put_waits(
    at timestamptz,
    over_runs uuid[], over_seqs bigint[],
    wait_runs uuid[], wait_seqs bigint[], wait_namespaces text[], wait_workflows text[], wait_names text[], wait_paths text[],
    wait_inputs boolean[], wait_bodies bytea[], wait_until timestamptz[],
    event_runs uuid[], event_seqs bigint[], event_namespaces text[], event_names text[],
    cast_namespaces text[], cast_events text[], cast_kinds text[], cast_bodies bytea[], cast_keys text[]
) returns timestamptz language plpgsql as $$
begin
    delete from waits w using unnest(over_runs, over_seqs) as o (run, seq) where w.run_id = o.run and w.seq = o.seq;
    insert into waits (run_id, seq, namespace, workflow, name, path, is_input, body, opened_at, until)
        select w.run, w.seq, w.namespace, w.workflow, w.name, w.path, w.is_input, w.body, at, w.until
        from unnest(wait_runs, wait_seqs, wait_namespaces, wait_workflows, wait_names, wait_paths, wait_inputs, wait_bodies,
            wait_until) as w (run, seq, namespace, workflow, name, path, is_input, body, until)
        on conflict do nothing;
    insert into wait_events (namespace, event, run_id, seq)
        select e.namespace, e.event, e.run, e.seq
        from unnest(event_namespaces, event_names, event_runs, event_seqs) as e (namespace, event, run, seq)
        on conflict do nothing;
    for i in 1 .. cardinality(cast_events) loop
        perform rejoin_broadcast(cast_namespaces[i], cast_events[i], cast_kinds[i], cast_bodies[i], cast_keys[i]);
    end loop;
    return at;
end $$;
comment on function rejoin_put_waits is 'Keeps the open waits, beside an append and in its transaction; then sends what goes to '
    'all runs that wait for an event.';

create function rejoin_broadcast(in_namespace text, of_event text, message_kind text, message_body bytea, message_key text)
    returns bigint language sql as $$
    with waiting as (select distinct w.run_id from wait_events w where w.namespace = in_namespace and w.event = of_event
            order by w.run_id),
        put as (insert into inbox (partition, run_id, kind, body, dedupe_key, wants_verdict)
            select get_byte(uuid_send(w.run_id), 15) & 63, w.run_id, message_kind, message_body, message_key, false
            from waiting w on conflict (run_id, dedupe_key) do nothing returning 1)
    select count(*) from put
$$;
comment on function rejoin_broadcast is 'Puts a message into the inbox of every run that waits for an event; returns how many.';
