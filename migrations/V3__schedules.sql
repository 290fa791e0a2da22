-- Schedules: what is started at which times, and how far each has come.

create sequence schedule_revisions;
comment on sequence schedule_revisions is 'Numbers of writes of schedules; none is drawn twice, so that a schedule made anew is never taken for the one before.';

create table schedules (
    namespace text collate "C" not null,
    name text collate "C" not null,
    spec bytea not null,
    revision bigint not null default nextval('schedule_revisions'),
    is_paused boolean not null,
    anchor_at timestamptz not null,
    next_at timestamptz,
    pending timestamptz[] not null,
    caught_up integer not null check (caught_up >= 0),
    last_run uuid,
    open_runs uuid[] not null,
    failures integer not null check (failures >= 0),
    last_error text,
    wake_at timestamptz,
    primary key (namespace, name)
);
create index schedules_due on schedules (wake_at) where wake_at is not null;
comment on table schedules is 'What is started again and again. Each write is guarded by the revision that was read: of several coordinators one takes a tick.';
comment on column schedules.namespace is 'The namespace it lives and starts runs in.';
comment on column schedules.name is 'Name of the schedule.';
comment on column schedules.spec is 'JSON text: the workflow, its input, the times, and what happens when they collide.';
comment on column schedules.revision is 'Drawn anew with each write.';
comment on column schedules.is_paused is 'Whether nothing is started.';
comment on column schedules.anchor_at is 'Where an interval begins to count.';
comment on column schedules.next_at is 'The next tick that nobody has taken yet; null: there is none.';
comment on column schedules.pending is 'Ticks that are taken and whose runs are not known to have started, in order.';
comment on column schedules.caught_up is 'How many missed ticks were made up in a row.';
comment on column schedules.last_run is 'The run it started last.';
comment on column schedules.open_runs is 'Runs of ticks whose end is not counted yet, in the order of their starts.';
comment on column schedules.failures is 'How many starts and runs failed in a row.';
comment on column schedules.last_error is 'Why the last of them failed.';
comment on column schedules.wake_at is 'When a coordinator has to look at it; null: never.';
