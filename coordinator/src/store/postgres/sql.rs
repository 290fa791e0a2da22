//! Every statement, named by table, verb and guard, each with the index that it uses. A test prepares all of them.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub const $name: &str = $sql;)*
        /// All of them with their names.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

/// Columns of a run's row, in the order `rows::run_row` reads them. Tags and the source of a fork come from the primary keys of `tags` and `forks`.
macro_rules! run_columns {
    () => {
        "r.id, r.namespace, r.workflow, r.version, r.status, r.priority, r.input, r.context, r.output, r.error, r.compensated, \
         (select json_object_agg(t.key, t.value)::text from tags t where t.run_id = r.id), r.idempotency_key, r.parent, \
         r.steps_total, r.steps_done, r.steps_failed, r.steps_running, r.steps_waiting, r.dispatched, r.redelivered, r.duplicate, \
         r.late, r.wake_at, r.created_at, r.started_at, r.finished_at, \
         (select f.source from forks f where f.run_id = r.id), (select f.seq from forks f where f.run_id = r.id)"
    };
}

macro_rules! journal_columns {
    () => {
        "j.seq, j.at, j.format, k.name, j.path, j.attempt, j.outcome, j.worker, j.body, j.output, j.snapshot, j.logs"
    };
}

/// What a page of a journal is measured by.
macro_rules! row_bytes {
    () => {
        "octet_length(body) + coalesce(octet_length(output), 0) + coalesce(octet_length(snapshot), 0) \
         + coalesce(octet_length(logs), 0)"
    };
}

/// Conditions and order of a list of runs; null parameters fall away when the statement is planned. A single workflow or state has
/// a parameter of its own: only an equality lets an index give the rows in order, so that a page reads a page.
macro_rules! run_page {
    () => {
        "r.namespace = $1 \
         and ($2::text[] is null or r.workflow = any($2)) \
         and ($3::text[] is null or r.status = any($3)) \
         and ($4::timestamptz is null or r.created_at >= $4) \
         and ($5::timestamptz is null or r.created_at < $5) \
         and ($6::uuid is null or r.parent = $6) \
         and ($7::text is null or starts_with(r.id::text, $7) or right(r.id::text, length($7)) = $7 or strpos(r.workflow, $7) > 0) \
         and ($8::uuid is null or r.id < $8) \
         and ($9::text is null or r.workflow = $9) \
         and ($10::text is null or r.status = $10) \
         order by r.id desc limit $11"
    };
}

macro_rules! terminal {
    () => {
        "('completed', 'failed', 'compensation_failed', 'cancelled')"
    };
}

/// Ended runs whose time is over, longest ago first: by their own retention, or by the state's ($1, $2 in ms). `now()`, as an index
/// is not looked into for a time that may change under way. `limit`
/// bounds each of the two ways.
macro_rules! expired_runs {
    ($limit:literal) => {
        concat!("(select r.id from runs r where r.wake_at <= now() and r.finished_at is not null \
                order by r.wake_at ", $limit, ") \
            union all (select late.id from unnest($1::text[], $2::bigint[]) as d (status, keep_ms) cross join lateral \
                (select r.id from runs r where r.status = d.status and r.wake_at is null and r.finished_at is not null \
                    and r.finished_at <= now() - d.keep_ms * interval '1 millisecond' \
                    order by r.finished_at ", $limit, ") late)")
    };
}

/// Whether the time of `r` is over: judged again once it is locked, as it may have gone on and ended anew.
macro_rules! is_expired {
    () => {
        concat!("r.finished_at is not null and r.status in ", terminal!(), " and coalesce(r.wake_at, r.finished_at \
            + (select d.keep_ms from unnest($1::text[], $2::bigint[]) as d (status, keep_ms) where d.status = r.status) \
                * interval '1 millisecond') <= now()")
    };
}

/// Whether `r` has an unfinished child that it waits for. What a child is stands in its first record.
macro_rules! is_held {
    () => {
        "exists (select from runs c where c.parent = r.id \
            and c.status in ('scheduled', 'running', 'waiting', 'paused', 'compensating') \
            and coalesce((select rejoin_is_awaited(j.body) from journal j \
                where j.run_id = c.id and j.seq = 1), true))"
    };
}

/// What goes with the runs in `gone` (id, ended_at): all but their journals, which are noted to go. `$key_life` in ms.
macro_rules! gone_with_runs {
    ($key_life:literal) => {
        concat!("gone_tags as (delete from tags where run_id in (select id from gone)), \
        gone_forks as (delete from forks where run_id in (select id from gone)), \
        gone_waits as (delete from waits where run_id in (select id from gone)), \
        gone_inbox as (delete from inbox where run_id in (select id from gone)), \
        gone_joins as (delete from joined_scopes where run_id in (select id from gone)), \
        kept_keys as (update idempotency_keys k set free_from = gone.ended_at + ", $key_life, "::bigint * interval '1 millisecond' \
            from gone where k.run_id = gone.id), \
        noted as (insert into deleted_runs (run_id, last_seq) \
            select id, coalesce((select max(j.seq) from journal j where j.run_id = gone.id), 0) from gone returning run_id)")
    };
}

macro_rules! workflow_columns {
    () => {
        "namespace, name, version, digest, document, created_at"
    };
}

macro_rules! schedule_columns {
    () => {
        "namespace, name, spec, revision, is_paused, anchor_at, next_at, pending, caught_up, last_run, open_runs, failures, \
         last_error, wake_at"
    };
}

/// The id of the key of a payload, as bytes: empty for a plain one, a zero byte where it begins as a sealed one and is none. It
/// raises no error whatever stands there, and reads the first bytes only.
macro_rules! key_bytes {
    ($column:literal) => {
        concat!(
            "case when substr(",
            $column,
            ", 1, 1) is distinct from '\\x01' then substr(",
            $column,
            ", 1, 0) \
            when octet_length(",
            $column,
            ") < 4 then '\\x00'::bytea \
            else substr(",
            $column,
            ", 4, get_byte(substr(",
            $column,
            ", 1, 3), 2)) end as key_of_",
            $column
        )
    };
}

/// A page of the payloads of a table behind `$start`: at most $2 rows, and those that begin within $3 bytes of what is sealed with
/// another key than $1 (null: nothing counts as such). Of each column the key's id, and then the payload if it is another key's.
macro_rules! payloads_look {
    ($table:literal, $shown:literal, $order:literal, $start:literal, [$($column:literal),+] $(, $more:literal)?) => {
        concat!("select ", $shown,
            $(", key_of_", $column, ", case when key_of_", $column, " <> $1::bytea then ", $column, " end",)+ $($more,)?
            " from (select page.*, sum(0",
            $(" + case when key_of_", $column, " <> $1::bytea then octet_length(", $column, ") else 0 end",)+
            ") over (order by ", $order, " rows between unbounded preceding and 1 preceding) as before from (select *",
            $(", ", key_bytes!($column),)+
            " from ", $table, " where ", $start, " order by ", $order, " limit $2) page) p \
            where coalesce(before, 0) < $3::bigint order by ", $order)
    };
}

/// Writes payloads in the place of those that have these SHA-256, each row as a whole or not at all. Rows that others have in hand
/// are left: it never waits for a lock, so that nobody who does can be caught between it and another one.
macro_rules! payloads_write_if_same {
    ($table:literal, $key:literal, $keys:literal, $same:literal, [$(($column:literal, $bytes:literal, $old:literal, $new:literal, $value:literal)),+]) => {
        concat!("with w as materialized (select * from unnest(", $keys, $(", ", $old, "::bytea[], ", $new, "::bytea[]",)+
            ") as w (", $key, $(", old_", $column, ", new_", $column,)+ ")), \
            mine as materialized (select ", $key, " from ", $table, " join w using (", $key, ") order by ", $key, " \
                for no key update of ", $table, " skip locked) \
            update ", $table, " t set ", payloads_write_if_same!(@set $($column, $value);+), " \
            from w join mine using (", $key, ") where ", $same,
            $(" and (w.old_", $column, " is null or sha256(", $bytes, ") = w.old_", $column, ")",)+)
    };
    (@set $column:literal, $value:literal $(; $others:literal, $values:literal)*) => {
        concat!($column, " = coalesce(", $value, ", t.", $column, ")" $(, ", ", $others, " = coalesce(", $values, ", t.", $others, ")")*)
    };
}

/// Frees partitions under a new epoch, so that nothing their former owner still sends can be appended.
macro_rules! free_partition {
    () => {
        "update partitions p set owner_name = null, owner_incarnation = null, owner_address = null, epoch = p.epoch + 1, \
         token = 0, batch = 0"
    };
}

statements! {
    /// One batch. `partitions`, `runs`, `journal`, `inbox` by their primary keys.
    BATCH_APPEND_IF_OWNER = "select rejoin_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
        $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, \
        $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57)";
    /// The same with runs that begin with the newest versions; `workflows` by its primary key.
    BATCH_APPEND_WITH_NEWEST_IF_OWNER = "with appended as materialized (select rejoin_append($1, $2, $3, $4, $5, $6, $7, $8, $9, \
        $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, \
        $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57) \
            as at) \
        select rejoin_expect_newest(at, $58, $59, $60) from appended";
    /// The same with waits, broadcasts and joins, and newest versions; `waits`, `wait_events` and `joined_scopes` by their primary keys.
    BATCH_APPEND_WITH_WAITS_IF_OWNER = "with appended as materialized (select rejoin_append($1, $2, $3, $4, $5, $6, $7, $8, $9, \
        $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, \
        $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57) \
            as at), \
        joined as materialized (select rejoin_put_joins(at, $81, $82, $83, $84) as at from appended) \
        select rejoin_put_waits(rejoin_expect_newest(at, $58, $59, $60), $61, $62, $63, $64, $65, $66, $67, $68, $69, $70, $71, \
            $72, $73, $74, $75, $76, $77, $78, $79, $80) from joined";
    /// The same with forks; `forks` by its primary key.
    BATCH_APPEND_WITH_FORKS_IF_OWNER = "with appended as materialized (select rejoin_append($1, $2, $3, $4, $5, $6, $7, $8, $9, \
        $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, \
        $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57) \
            as at), \
        joined as materialized (select rejoin_put_joins(at, $81, $82, $83, $84) as at from appended), \
        put as materialized (select rejoin_put_waits(rejoin_expect_newest(at, $58, $59, $60), $61, $62, $63, $64, $65, $66, $67, $68, \
            $69, $70, $71, $72, $73, $74, $75, $76, $77, $78, $79, $80) as at from joined) \
        select rejoin_begin_forks(at, $85) from put";
    /// All kinds; a small table.
    KINDS_READ = "select id, name from journal_kinds";
    /// A new kind of record. Unique (name).
    KIND_ADD = "insert into journal_kinds (name) values ($1) on conflict (name) do nothing";

    /// A page of a journal: at most $3 rows, and those that begin within the first $4 bytes. Primary key.
    JOURNAL_PAGE = concat!("select ", journal_columns!(), " \
        from (select page.*, sum(", row_bytes!(), ") over (order by seq rows between unbounded preceding and 1 preceding) as before \
            from (select * from journal where run_id = $1 and seq > $2 order by seq limit $3) page) j \
        join journal_kinds k on k.id = j.kind where coalesce(j.before, 0) < $4::bigint order by j.seq");
    /// The first pages of several journals, in order: of each at most $2 rows, and those that begin within its first $3 bytes.
    /// Primary key, once a run.
    JOURNAL_HEADS = concat!("select ", journal_columns!(), ", j.run_id from unnest($1::uuid[]) as wanted (id) \
        cross join lateral (select page.*, sum(", row_bytes!(), ") over (order by seq rows between unbounded preceding \
                and 1 preceding) as before \
            from (select * from journal where run_id = wanted.id order by seq limit $2) page) j \
        join journal_kinds k on k.id = j.kind where coalesce(j.before, 0) < $3::bigint order by j.run_id, j.seq");
    /// One run. Primary key.
    RUN_READ = concat!("select ", run_columns!(), " from runs r where r.id = $1");
    /// Several runs. Primary key.
    RUNS_READ = concat!("select ", run_columns!(), " from runs r where r.id = any($1)");
    /// Ids between $2 and $3 (a prefix; null: none), or whose reversed text begins with $4. Primary key and `runs_by_suffix`.
    RUN_IDS_LIKE = "select id from ( \
            (select id from runs where namespace = $1 and id >= $2::uuid and id <= $3::uuid order by id desc limit $5) \
            union (select id from runs where namespace = $1 and reverse(id::text) ~>=~ $4::text \
                and reverse(id::text) ~<~ ($4::text || 'g') order by id desc limit $5)) found \
        order by id desc limit $5";
    /// A page of runs, newest first. `runs_newest`, `runs_of_workflow`, `runs_in_state` or `runs_of_parent`.
    RUNS_PAGE = concat!("select ", run_columns!(), " from runs r where ", run_page!());
    /// The same with tags. `tags_by_value` for the first, the primary key of `tags` for the others.
    RUNS_PAGE_BY_TAG = concat!("select ", run_columns!(), " from runs r where r.id in (select f.run_id from tags f \
            where f.namespace = $1 and f.key = ($12::text[])[1] and f.value = ($13::text[])[1]) \
        and (select count(*) from unnest($12::text[], $13::text[]) as w (key, value) \
            join tags t on t.run_id = r.id and t.key = w.key and t.value = w.value) = cardinality($12::text[]) and ",
        run_page!());
    /// The same by what runs wait for, or among given ones. `waits_by_kind` or the primary key; that of `tags`.
    RUNS_PAGE_WAITING = concat!("select ", run_columns!(), " from runs r \
        where ($12::text is null or r.id in (select w.run_id from waits w where w.namespace = $1 and w.kind = $12)) \
        and ($13::uuid[] is null or r.id = any($13)) \
        and (select count(*) from unnest($14::text[], $15::text[]) as w (key, value) \
            join tags t on t.run_id = r.id and t.key = w.key and t.value = w.value) = cardinality($14::text[]) and ",
        run_page!());
    /// What a takeover loads. `runs_at_work`.
    OPEN_RUNS = "select id from runs where partition = any($1) \
        and status in ('running', 'paused', 'compensating') order by active_at desc, id";
    /// Sleepers due by $5, behind ($2, $3), and of each partition and state the next one, soonest first. `runs_asleep`, twice for
    /// each partition and state.
    RUNS_ASLEEP = "select s.id, s.wake_at from unnest($1::smallint[]) as p (number) \
        cross join (values ('scheduled'), ('waiting')) as w (status) \
        cross join lateral ((select r.id, r.wake_at from runs r where r.partition = p.number and r.status = w.status \
                and r.status in ('scheduled', 'waiting') and r.wake_at <= $5 \
                and ($2::timestamptz is null or (r.wake_at, r.id) > ($2, $3::uuid)) order by r.wake_at, r.id limit $4) \
            union all (select r.id, r.wake_at from runs r where r.partition = p.number and r.status = w.status \
                and r.status in ('scheduled', 'waiting') and r.wake_at > $5 \
                and ($2::timestamptz is null or (r.wake_at, r.id) > ($2, $3::uuid)) order by r.wake_at, r.id limit 1)) s \
        order by s.wake_at, s.id limit $4";
    /// How many those are, with those that wait for no time. `runs_asleep`.
    RUNS_ASLEEP_COUNT = "select status, count(*) from runs where partition = any($1) and status in ('scheduled', 'waiting') \
        group by status";
    /// Counts by state: goes over the whole table, so it is asked for seldom.
    RUN_COUNTS = "select status, count(*) from runs group by status";
    /// Deletes an ended run with its tags and messages, and notes that its journal is to go. Primary keys,
    /// `idempotency_keys_of_run`.
    RUN_DELETE_IF_ENDED = concat!("with gone as (delete from runs where id = $1 and status in ", terminal!(), " \
            returning id, coalesce(finished_at, clock_timestamp()) as ended_at), ", gone_with_runs!("$2"),
        " select count(*) from noted");
    /// The same for ended runs whose time is over, as far as nobody else deletes them at the moment; those that wait for a child are
    /// looked at again later. `runs_expiring`, `runs_kept`, `runs_of_parent`, primary keys.
    RUNS_DELETE_IF_EXPIRED = concat!("with found as materialized (", expired_runs!("limit $4"), "), \
        ended as materialized (select r.id, r.status, r.finished_at, ", is_held!(), " as is_held from runs r \
            where r.id in (select id from found) and ", is_expired!(), " order by r.id limit $4 for update of r skip locked), \
        held as (update runs r set wake_at = clock_timestamp() + $5::bigint * interval '1 millisecond' \
            from ended e where e.id = r.id and e.is_held), \
        gone as (delete from runs r using ended e where e.id = r.id and not e.is_held \
            returning r.id, r.status, r.finished_at as ended_at), ", gone_with_runs!("$3"), " \
        select status, count(*) from gone group by status");
    /// How many those are: goes over all of them. `runs_expiring`, `runs_kept`, `runs_of_parent`.
    RUNS_EXPIRED_COUNT = concat!("select r.status, count(*) from runs r where r.id in (", expired_runs!(""), ") \
        and not ", is_held!(), " group by r.status");
    /// A portion of the journals of deleted runs, oldest first, as far as nobody else removes them at the moment: each run's next
    /// $2 records, known from its row, as what others removed may still be seen. `deleted_runs_oldest`, primary keys.
    DELETED_JOURNALS_REMOVE = "with taken as materialized (select run_id, next_seq from deleted_runs order by deleted_at limit $1 \
            for update skip locked), \
        gone as (delete from journal j using taken s where j.run_id = s.run_id and j.seq >= s.next_seq \
            and j.seq < s.next_seq + $2::bigint returning j.seq), \
        done as (delete from deleted_runs d using taken s where d.run_id = s.run_id and d.last_seq < d.next_seq + $2::bigint), \
        on_it as (update deleted_runs d set next_seq = d.next_seq + $2::bigint from taken s where d.run_id = s.run_id \
            and d.last_seq >= d.next_seq + $2::bigint) \
        select (select count(*) from taken), (select count(*) from gone)";
    /// A portion of the snapshots that go, as far as nobody else drops them at the moment: the next $2 records of each of $1 scopes.
    /// `joined_scopes_waiting`, primary keys.
    SNAPSHOTS_DROP = "with taken as materialized (select run_id, opened, joined, path, next_seq from joined_scopes \
            where next_seq < joined order by run_id, opened limit $1 for update skip locked), \
        gone as (update journal j set snapshot = null from taken s where j.run_id = s.run_id and j.seq >= s.next_seq \
            and j.seq < least(s.joined, s.next_seq + $2::bigint) and j.snapshot is not null \
            and (starts_with(j.path, s.path || '/') or starts_with(j.path, s.path || '[')) returning j.seq), \
        on_it as (update joined_scopes d set next_seq = least(d.joined, d.next_seq + $2::bigint) from taken s \
            where d.run_id = s.run_id and d.opened = s.opened) \
        select (select count(*) from taken), (select count(*) from gone)";
    /// How many snapshots go: looks at all of them. `joined_scopes_waiting`, primary key of `journal`.
    SNAPSHOTS_TO_DROP = "select count(distinct (j.run_id, j.seq)) from joined_scopes s join journal j on j.run_id = s.run_id \
        and j.seq >= s.next_seq and j.seq < s.joined and j.snapshot is not null \
        and (starts_with(j.path, s.path || '/') or starts_with(j.path, s.path || '[')) where s.next_seq < s.joined";
    /// The scopes of a run whose snapshots go or have gone. Primary key.
    JOINED_SCOPES_READ = "select run_id, opened, joined, path, next_seq from joined_scopes where run_id = $1 order by opened";
    /// A copy begins. Primary key.
    COPY_BEGIN = "insert into forks (run_id, source, seq) values ($1, $2, $3)";
    /// Copies the records behind $3 up to $4, if the copy was not given up. Primary keys.
    COPY_PORTION_IF_WANTED = "with wanted as (update forks set copied_at = clock_timestamp() where run_id = $1 and not is_begun \
            returning run_id) \
        insert into journal (run_id, seq, at, attempt, format, kind, outcome, path, worker, body, output, snapshot, logs) \
        select wanted.run_id, j.seq, j.at, j.attempt, j.format, j.kind, j.outcome, j.path, j.worker, j.body, j.output, j.snapshot, \
            j.logs from wanted, journal j where j.run_id = $2 and j.seq > $3 and j.seq <= $4";
    /// Copies these records, if the copy was not given up. Primary keys.
    COPY_ROWS_IF_WANTED = "with wanted as (update forks set copied_at = clock_timestamp() where run_id = $1 and not is_begun \
            returning run_id) \
        insert into journal (run_id, seq, at, attempt, format, kind, outcome, path, worker, body, output, snapshot, logs) \
        select wanted.run_id, r.seq, r.at, r.attempt, r.format, r.kind, r.outcome, r.path, r.worker, r.body, r.output, r.snapshot, \
            r.logs from wanted, unnest($2::bigint[], $3::timestamptz[], $4::integer[], $5::smallint[], $6::smallint[], \
            $7::smallint[], $8::text[], $9::text[], $10::bytea[], $11::bytea[], $12::bytea[], $13::bytea[]) \
            as r (seq, at, attempt, format, kind, outcome, path, worker, body, output, snapshot, logs)";
    /// Gives a copy up: its records go as those of a deleted run do. Primary key.
    COPY_GIVE_UP = "with gone as (delete from forks where run_id = $1 and not is_begun returning run_id, seq) \
        insert into deleted_runs (run_id, last_seq) select run_id, seq from gone on conflict do nothing";
    /// Gives up copies that nobody used. `forks_unused`.
    COPIES_SWEEP = "with gone as (delete from forks where not is_begun \
            and copied_at < clock_timestamp() - $1::bigint * interval '1 millisecond' returning run_id, seq) \
        insert into deleted_runs (run_id, last_seq) select run_id, seq from gone on conflict do nothing";

    /// A key is used for the first time. Primary key.
    ENCRYPTION_KEY_ADD_IF_NEW = "insert into encryption_keys (id, proof) values ($1, $2) on conflict (id) do nothing";
    /// What proves these keys; a small table.
    ENCRYPTION_KEYS_READ = "select id, proof from encryption_keys where id = any($1)";
    /// The key that was added last; a small table.
    ENCRYPTION_KEY_NEWEST = "select id, added_at from encryption_keys order by added_at desc, id limit 1";
    /// Keys that were written with and not forgotten; a small table.
    ENCRYPTION_KEYS_ALL = "select id from encryption_keys order by id";
    /// Forgets keys that seal nothing any more. Primary key.
    ENCRYPTION_KEYS_FORGET = "delete from encryption_keys where id = any($1) returning id";
    /// Keys that have sealed what still stands in rows of runs and schedules: goes over all of them.
    ENCRYPTION_KEYS_IN_USE = "with used as (\
            select k.id, 1 as runs, 0 as schedules from runs r cross join lateral (select distinct v.id from (values \
                (rejoin_key_of(r.input)), (rejoin_key_of(r.context)), (rejoin_key_of(r.output)), (rejoin_key_of(r.error))) as v (id) \
                where v.id is not null) k \
            union all select rejoin_key_of(s.spec), 0, 1 from schedules s where rejoin_key_of(s.spec) is not null) \
        select id, sum(runs)::bigint, sum(schedules)::bigint from used group by id order by id";

    /// Payloads of records. Primary key.
    JOURNAL_PAYLOADS = payloads_look!("journal", "run_id, seq", "run_id, seq", "(run_id, seq) > ($4::uuid, $5::bigint)",
        ["body", "output", "snapshot", "logs"]);
    /// Payloads of runs. Primary key.
    RUNS_PAYLOADS = payloads_look!("runs", "id", "id", "id > $4::uuid", ["input", "context", "output", "error"]);
    /// Payloads of messages, or of their verdicts: who answers one puts a plain null in its place, which is no payload. Primary key.
    INBOX_PAYLOADS = payloads_look!(
        "(select id, kind, case when verdict is null then body end as body, verdict from inbox) i", "id, kind", "id", "id > $4::bigint", ["body", "verdict"]);
    /// Payloads of waits. Primary key.
    WAITS_PAYLOADS = payloads_look!("waits", "run_id, seq", "run_id, seq", "(run_id, seq) > ($4::uuid, $5::bigint)", ["body"]);
    /// Payloads of schedules; the error is text, and comes as it is. Primary key.
    SCHEDULES_PAYLOADS = payloads_look!("schedules", "namespace, name", "namespace, name",
        "(namespace, name) > ($4::text, $5::text)", ["spec"], ", null::bytea, convert_to(last_error, 'UTF8')");
    /// Seals records anew. Primary key.
    JOURNAL_RESEAL_IF_SAME = payloads_write_if_same!("journal", "run_id, seq", "$1::uuid[], $2::bigint[]",
        "t.run_id = w.run_id and t.seq = w.seq", [("body", "t.body", "$3", "$4", "w.new_body"),
            ("output", "t.output", "$5", "$6", "w.new_output"), ("snapshot", "t.snapshot", "$7", "$8", "w.new_snapshot"),
            ("logs", "t.logs", "$9", "$10", "w.new_logs")]);
    /// Seals runs anew. Primary key.
    RUNS_RESEAL_IF_SAME = payloads_write_if_same!("runs", "id", "$1::uuid[]", "t.id = w.id",
        [("input", "t.input", "$2", "$3", "w.new_input"), ("context", "t.context", "$4", "$5", "w.new_context"),
            ("output", "t.output", "$6", "$7", "w.new_output"), ("error", "t.error", "$8", "$9", "w.new_error")]);
    /// Seals messages and verdicts anew. Primary key.
    INBOX_RESEAL_IF_SAME = payloads_write_if_same!("inbox", "id", "$1::bigint[]", "t.id = w.id",
        [("body", "t.body", "$2", "$3", "w.new_body"), ("verdict", "t.verdict", "$4", "$5", "w.new_verdict")]);
    /// Seals waits anew. Primary key.
    WAITS_RESEAL_IF_SAME = payloads_write_if_same!("waits", "run_id, seq", "$1::uuid[], $2::bigint[]",
        "t.run_id = w.run_id and t.seq = w.seq", [("body", "t.body", "$3", "$4", "w.new_body")]);
    /// Seals schedules anew: what they are stays, and so does their revision. Primary key.
    SCHEDULES_RESEAL_IF_SAME = payloads_write_if_same!("schedules", "namespace, name", "$1::text[], $2::text[]",
        "t.namespace = w.namespace and t.name = w.name", [("spec", "t.spec", "$3", "$4", "w.new_spec"),
            ("last_error", "convert_to(t.last_error, 'UTF8')", "$5", "$6", "convert_from(w.new_last_error, 'UTF8')")]);
    /// A version by its document. Unique (namespace, name, digest).
    WORKFLOW_READ_BY_DIGEST = concat!("select ", workflow_columns!(),
        " from workflows where namespace = $1 and name = $2 and digest = $3");
    /// A version by its number. Primary key.
    WORKFLOW_READ = concat!("select ", workflow_columns!(),
        " from workflows where namespace = $1 and name = $2 and version = $3");
    /// The newest version. Primary key.
    WORKFLOW_READ_NEWEST = concat!("select ", workflow_columns!(),
        " from workflows where namespace = $1 and name = $2 order by version desc limit 1");
    /// The next version; nothing if another one took its number, or is the same document. Primary key.
    WORKFLOW_ADD_IF_FREE = concat!("insert into workflows (namespace, name, version, digest, document) \
        select $1, $2, coalesce(max(version), 0) + 1, $3, $4 from workflows where namespace = $1 and name = $2 \
        on conflict do nothing returning ", workflow_columns!());
    /// The newest version of each. Primary key.
    WORKFLOWS_PAGE = concat!("select distinct on (name) ", workflow_columns!(),
        " from workflows where namespace = $1 and ($2::text is null or name > $2) order by name, version desc limit $3");

    /// Binds a key if it is free. Primary key.
    KEY_RESERVE_IF_FREE = "insert into idempotency_keys as k (namespace, key, run_id, request_hash) values ($1, $2, $3, $4) \
        on conflict (namespace, key) do update set run_id = excluded.run_id, request_hash = excluded.request_hash, \
            reserved_at = clock_timestamp(), free_from = null where k.free_from <= clock_timestamp()";
    /// What a key is bound to. Primary key.
    KEY_READ = "select run_id, request_hash, free_from is not null from idempotency_keys where namespace = $1 and key = $2";

    /// Binds the keys that are free, in their order, so that no two callers wait for each other; locks the others. Primary key.
    KEYS_RESERVE_IF_FREE = "insert into idempotency_keys as k (namespace, key, run_id, request_hash) \
        select $1, w.key, w.run, w.hash from unnest($2::text[], $3::uuid[], $4::text[]) as w (key, run, hash) order by w.key \
        on conflict (namespace, key) do update set run_id = excluded.run_id, request_hash = excluded.request_hash, \
            reserved_at = clock_timestamp(), free_from = null where k.free_from <= clock_timestamp() returning k.key";
    /// What keys are bound to. Primary key.
    KEYS_READ = "select run_id, request_hash, free_from is not null, key from idempotency_keys where namespace = $1 and key = any($2)";
    /// Which of these runs are there. Primary key.
    RUNS_THERE = "select id from runs where id = any($1)";

    /// Puts a message. Unique (run_id, dedupe_key).
    INBOX_PUT_IF_NEW = "insert into inbox (partition, run_id, kind, body, dedupe_key, wants_verdict) \
        values ($1, $2, $3, $4, $5, $6) on conflict (run_id, dedupe_key) do nothing returning id";
    /// The message that came first. Unique (run_id, dedupe_key).
    INBOX_READ_BY_KEY = "select id from inbox where run_id = $1 and dedupe_key = $2";
    /// Puts a message for all that wait for an event. `wait_events` by its primary key.
    BROADCAST = "select rejoin_broadcast($1, $2, $3, $4, $5)";
    /// Inputs that wait. `waits_by_kind`.
    INPUTS_PAGE = "select run_id, seq, namespace, workflow, name, path, body, opened_at, until from waits \
        where namespace = $1 and kind = 'input' and ($2::uuid is null or (run_id, seq) > ($2, $3)) order by run_id, seq limit $4";
    /// Messages that wait, oldest first. `inbox_waiting`.
    INBOX_PAGE = "select id, partition, run_id, kind, body, dedupe_key, wants_verdict from inbox \
        where partition = any($1) and verdict is null and id > $2 order by id limit $3";
    /// Takes a verdict. Primary key.
    VERDICT_TAKE = "delete from inbox where id = $1 and verdict is not null returning verdict";

    /// Joins or renews. Primary key.
    MEMBER_RENEW = "insert into members (name, incarnation, address, lease_until) \
        values ($1, $2, $3, clock_timestamp() + $4::bigint * interval '1 millisecond') \
        on conflict (name, incarnation) do update set address = excluded.address, lease_until = excluded.lease_until";
    /// Ends a lease. Primary key.
    MEMBER_END = "update members set lease_until = least(lease_until, clock_timestamp()) where name = $1 and incarnation = $2";
    /// Members that are not forgotten yet; a small table.
    MEMBERS_READ = "select name, incarnation, address, joined_at, \
            floor(extract(epoch from lease_until - clock_timestamp()) * 1000)::bigint \
        from members where lease_until > clock_timestamp() - $1::bigint * interval '1 millisecond' order by name, joined_at";
    /// All partitions; a small table.
    PARTITIONS_READ = "select p.number, p.owner_name, p.owner_incarnation, p.owner_address, \
            coalesce(m.lease_until > clock_timestamp(), false), p.epoch, p.token, p.has_events \
        from partitions p left join members m on m.name = p.owner_name and m.incarnation = p.owner_incarnation order by p.number";
    /// Takes partitions that may be taken, in order of number. The lease is read by a scalar query on purpose: after a wait for the
    /// row lock the condition is judged again on the new row, and a join would be judged with the old one's partner.
    PARTITIONS_CLAIM_IF_FREE = "with free as (select p.number from partitions p where p.number = any($1) \
            and (p.owner_name is null or (p.owner_name = $3 and p.owner_incarnation in ($4, $6)) \
                or coalesce((select m.lease_until from members m where m.name = p.owner_name \
                    and m.incarnation = p.owner_incarnation), '-infinity') <= clock_timestamp()) \
            order by p.number for update) \
        update partitions p set owner_name = $3, owner_incarnation = $4, owner_address = $5, epoch = p.epoch + 1, \
            token = w.token, batch = 0 \
        from free, unnest($1::smallint[], $2::bigint[]) as w (number, token) \
        where p.number = free.number and w.number = free.number returning p.number, p.epoch, p.token";
    /// Gives back those still held under these epochs.
    PARTITIONS_RELEASE_IF_OWNER = concat!("with mine as (select p.number from partitions p \
            join unnest($1::smallint[], $2::bigint[], $3::bigint[]) as c (number, epoch, token) \
                on c.number = p.number and c.epoch = p.epoch and c.token = p.token \
            where p.owner_name = $4 and p.owner_incarnation = $5 order by p.number for update of p) ",
        free_partition!(), " from mine where p.number = mine.number");
    /// Gives back all that a member holds.
    PARTITIONS_RELEASE_OF_MEMBER = concat!("with mine as (select p.number from partitions p \
            where p.owner_name = $1 and p.owner_incarnation = $2 order by p.number for update) ",
        free_partition!(), " from mine where p.number = mine.number");
    /// The event queue is in use. Primary key.
    PARTITION_MARK_EVENTS = "update partitions set has_events = true where number = $1 and not has_events";

    /// A new schedule; nothing if its name is taken. Primary key.
    SCHEDULE_ADD_IF_FREE = "insert into schedules (namespace, name, spec, is_paused, anchor_at, next_at, pending, caught_up, \
            last_run, open_runs, failures, last_error, wake_at) \
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) on conflict (namespace, name) do nothing";
    /// Writes a schedule that nobody has written since it was read. Primary key.
    SCHEDULE_CHANGE_IF_UNCHANGED = "update schedules set spec = $3, is_paused = $4, anchor_at = $5, next_at = $6, pending = $7, \
            caught_up = $8, last_run = $9, open_runs = $10, failures = $11, last_error = $12, wake_at = $13, \
            revision = nextval('schedule_revisions') \
        where namespace = $1 and name = $2 and revision = $14 returning revision";
    /// Removes a schedule. Primary key.
    SCHEDULE_REMOVE = "delete from schedules where namespace = $1 and name = $2";
    /// One schedule. Primary key.
    SCHEDULE_READ = concat!("select ", schedule_columns!(), " from schedules where namespace = $1 and name = $2");
    /// Schedules of a namespace, by name. Primary key.
    SCHEDULES_PAGE = concat!("select ", schedule_columns!(),
        " from schedules where namespace = $1 and ($2::text is null or name > $2) order by name limit $3");
    /// Schedules to look at. `schedules_due`.
    SCHEDULES_DUE = concat!("select ", schedule_columns!(),
        " from schedules where wake_at <= $1 order by wake_at limit $2");

    /// A new token. Primary key.
    TOKEN_ADD = "insert into tokens (hash, id, namespace, name, scope, created_at, expires_at) values ($1, $2, $3, $4, $5, $6, $7)";
    /// The token of a hash, if it is worth something. Primary key.
    TOKEN_READ_IF_VALID = "select hash, id, namespace, name, scope, created_at, expires_at from tokens \
        where hash = $1 and (expires_at is null or expires_at > clock_timestamp())";
    /// All tokens, in the order of their making. Unique (id).
    TOKENS_PAGE = "select hash, id, namespace, name, scope, created_at, expires_at from tokens \
        where $1::uuid is null or id > $1 order by id limit $2";
    /// Revokes a token. Unique (id).
    TOKEN_REMOVE = "delete from tokens where id = $1";

    /// Verdicts that nobody fetched. `inbox_answered`.
    VERDICTS_SWEEP = "delete from inbox where id in (select id from inbox \
        where answered_at < now() - $1::bigint * interval '1 millisecond' limit $2)";
    /// Keys that are free again. `idempotency_keys_free`.
    KEYS_SWEEP = "delete from idempotency_keys where (namespace, key) in (select namespace, key from idempotency_keys \
        where free_from <= now() limit $1) and free_from <= now()";
    /// Members that nobody lists any more; a small table.
    MEMBERS_SWEEP = "delete from members where lease_until <= clock_timestamp() - $1::bigint * interval '1 millisecond'";

    /// What the user may not do, of what is needed; the system's tables.
    RIGHTS_LACKING = "select p.name || ' ' || c.relname from pg_class c, unnest(array['select', 'insert', 'update', 'delete']) as p (name) \
        where c.relkind in ('r', 'p') and c.relnamespace = (select relnamespace from pg_class where oid = 'journal'::regclass) \
            and c.relname <> 'refinery_schema_history' and not has_table_privilege(c.oid, p.name) order by 1";
    /// The newest migration that ran, and the encoding of the database; a small table.
    SCHEMA_VERSION = "select coalesce(max(version), 0)::integer, current_setting('server_encoding') from refinery_schema_history";
    /// The time.
    NOW = "select clock_timestamp()";
}
