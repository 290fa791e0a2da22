-- Forks: runs that share the past of another run.

create table forks (
    run_id uuid primary key,
    source uuid not null,
    seq bigint not null check (seq >= 1),
    is_begun boolean not null default false,
    copied_at timestamptz not null default clock_timestamp()
);
create index forks_unused on forks (copied_at) where not is_begun;
comment on table forks is 'Where runs were forked. The journal of a fork begins with a copy of its source''s, which is made before the run '
    'is there.';
comment on column forks.run_id is 'The fork.';
comment on column forks.source is 'The run it was forked from.';
comment on column forks.seq is 'The last record that the two have in common.';
comment on column forks.is_begun is 'Whether the run is there; until then there are but copied records.';
comment on column forks.copied_at is 'When a portion of the journal was last copied.';

create function rejoin_begin_forks(at timestamptz, fork_runs uuid[]) returns timestamptz language plpgsql as $$
declare
    begun bigint;
begin
    update forks f set is_begun = true where f.run_id = any(fork_runs) and not f.is_begun;
    get diagnostics begun = row_count;
    if begun <> cardinality(fork_runs) then
        raise exception using errcode = 'RJ002', message = 'the past of a fork is not there';
    end if;
    return at;
end $$;
comment on function rejoin_begin_forks is 'Marks forks as begun, beside an append and in its transaction; fails it where a copy was given up.';
