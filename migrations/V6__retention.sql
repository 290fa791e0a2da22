-- Ended runs go when their time is over; the journals of deleted runs go in portions that several coordinators can share.

update runs set wake_at = null where finished_at is not null and wake_at is not null;
create index runs_expiring on runs (wake_at) where finished_at is not null and wake_at is not null;
create index runs_kept on runs (status, finished_at) where finished_at is not null and wake_at is null;
comment on column runs.wake_at is 'When a coordinator has to look at it; null: never. Of a run that has ended: when its retention ends.';

alter table deleted_runs add column next_seq bigint not null default 1, add column last_seq bigint not null default 0;
update deleted_runs d set last_seq = coalesce((select max(j.seq) from journal j where j.run_id = d.run_id), 0);
create index deleted_runs_oldest on deleted_runs (deleted_at);
comment on column deleted_runs.next_seq is 'Where the next portion of its journal begins.';
comment on column deleted_runs.last_seq is 'The last record of its journal.';
