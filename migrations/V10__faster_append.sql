-- The arrays of an append's journal rows are of one length and read side by side. Named in the select list they are read in step;
-- as a table of the from clause each was written into a store of its own first, which was two fifths of the append's time.

create or replace function rejoin_append(
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
            select unnest(row_runs), unnest(row_seqs), appended_at, unnest(row_attempts), row_format, unnest(row_kinds),
                unnest(row_outcomes), unnest(row_paths), unnest(row_workers), unnest(row_bodies), unnest(row_outputs),
                unnest(row_snapshots), unnest(row_logs);
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
