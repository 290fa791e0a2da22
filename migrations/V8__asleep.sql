-- Runs that only wait leave memory: their rows say when they are loaded again.

drop index runs_open;
create index runs_at_work on runs (partition) where status in ('running', 'paused', 'compensating');
create index runs_asleep on runs (partition, status, wake_at, id) where status in ('scheduled', 'waiting');
-- What older versions wrote may be too late, and sleeps of before V4 have no wait: each run is looked at once.
update runs set wake_at = 'epoch' where status in ('scheduled', 'running', 'waiting', 'paused', 'compensating');
comment on column runs.wake_at is 'When a coordinator has to look at it; null: never. Of a scheduled or waiting run: no later than its '
    'first timer; at 1970-01-01 its waits are put anew. Of a run that has ended: when its retention ends.';
