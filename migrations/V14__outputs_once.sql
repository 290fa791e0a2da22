-- The output of a run that completed is its final context unless the workflow says otherwise. Such an output is not kept beside the
-- context any more: an end is a third of its size then.

comment on column runs.output is 'JSON text of the output, once the run has ended; null where it is the context of a completed run.';

create or replace view rejoin_runs as
    select id, namespace, partition, workflow, version, status as state, priority, rejoin_json(input) as input,
        rejoin_json(context) as context,
        rejoin_json(case when status = 'completed' then coalesce(output, context) else output end) as output,
        rejoin_json(error) as error, compensated,
        (select json_object_agg(t.key, t.value order by t.key) from tags t where t.run_id = r.id) as tags,
        idempotency_key, parent, steps_total, steps_done, steps_failed, steps_running, steps_waiting, dispatched, redelivered,
        duplicate, late, wake_at, created_at, started_at, finished_at
    from runs r;
