-- Sleeps stand among the open waits too, so that runs can be listed by what they wait for.

alter table waits add column kind text collate "C" not null default 'event' check (kind in ('event', 'input', 'timer'));
update waits set kind = 'input' where is_input;
alter table waits alter column kind drop default;
drop index waits_for_input;
alter table waits drop column is_input;
create index waits_by_kind on waits (namespace, kind, run_id, seq);
comment on column waits.kind is 'What is awaited: events, a human answer (input), or a time (timer: a sleep).';

drop function rejoin_put_waits;
create function rejoin_put_waits(
    at timestamptz,
    over_runs uuid[], over_seqs bigint[],
    wait_runs uuid[], wait_seqs bigint[], wait_namespaces text[], wait_workflows text[], wait_names text[], wait_paths text[],
    wait_kinds text[], wait_bodies bytea[], wait_until timestamptz[],
    event_runs uuid[], event_seqs bigint[], event_namespaces text[], event_names text[],
    cast_namespaces text[], cast_events text[], cast_kinds text[], cast_bodies bytea[], cast_keys text[]
) returns timestamptz language plpgsql as $$
begin
    delete from waits w using unnest(over_runs, over_seqs) as o (run, seq) where w.run_id = o.run and w.seq = o.seq;
    insert into waits (run_id, seq, namespace, workflow, name, path, kind, body, opened_at, until)
        select w.run, w.seq, w.namespace, w.workflow, w.name, w.path, w.kind, w.body, at, w.until
        from unnest(wait_runs, wait_seqs, wait_namespaces, wait_workflows, wait_names, wait_paths, wait_kinds, wait_bodies,
            wait_until) as w (run, seq, namespace, workflow, name, path, kind, body, until)
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
