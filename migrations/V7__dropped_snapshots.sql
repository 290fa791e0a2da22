-- Snapshots of branches go after their join, where a workflow asks for that.

create table joined_scopes (
    run_id uuid not null,
    opened bigint not null,
    joined bigint not null,
    path text not null,
    next_seq bigint not null,
    primary key (run_id, opened),
    check (opened < next_seq and next_seq <= joined)
);
create index joined_scopes_waiting on joined_scopes (run_id, opened) where next_seq < joined;
comment on table joined_scopes is 'Joined scopes whose branches'' snapshots go, of workflows with snapshots_after_join: drop.';
comment on column joined_scopes.run_id is 'The run.';
comment on column joined_scopes.opened is 'The record of its journal that opened the scope.';
comment on column joined_scopes.joined is 'The record that joined it.';
comment on column joined_scopes.path is 'The scope''s node visit: what lies in its branches has a longer path.';
comment on column joined_scopes.next_seq is 'Up to here, exclusively, they are gone.';
comment on table journal is 'All that happened to a run, in order; appended, never changed, but that snapshots may go. The state of a '
    'run is the fold of it, without snapshots and logs.';
comment on column journal.snapshot is 'JSON text: what the branch changed, or output and context; null once it was dropped.';

create function rejoin_put_joins(at timestamptz, runs uuid[], opened bigint[], joined bigint[], paths text[])
    returns timestamptz language plpgsql as $$
begin
    insert into joined_scopes (run_id, opened, joined, path, next_seq)
        select j.run, j.opened, j.joined, j.path, j.opened + 1 from unnest(runs, opened, joined, paths) as j (run, opened, joined, path);
    return at;
end $$;
comment on function rejoin_put_joins is 'Notes joined scopes whose snapshots go, beside an append and in its transaction.';
