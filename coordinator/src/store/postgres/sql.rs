//! Every statement, named by table, verb and guard, each with the index that it uses. A test prepares all of them.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub const $name: &str = $sql;)*
        /// All of them with their names.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

/// Columns of a run's row, in the order `rows::run_row` reads them. Tags come from the primary key of `tags`.
macro_rules! run_columns {
    () => {
        "r.id, r.namespace, r.workflow, r.version, r.status, r.priority, r.input, r.context, r.output, r.error, r.compensated, \
         (select json_object_agg(t.key, t.value)::text from tags t where t.run_id = r.id), r.idempotency_key, r.parent, \
         r.steps_total, r.steps_done, r.steps_failed, r.steps_running, r.steps_waiting, r.dispatched, r.redelivered, r.duplicate, \
         r.late, r.wake_at, r.created_at, r.started_at, r.finished_at"
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
    /// The same with waits and broadcasts; `waits` and `wait_events` by their primary keys.
    BATCH_APPEND_WITH_WAITS_IF_OWNER = "with appended as materialized (select rejoin_append($1, $2, $3, $4, $5, $6, $7, $8, $9, \
        $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, \
        $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57) \
            as at) \
        select rejoin_put_waits(at, $58, $59, $60, $61, $62, $63, $64, $65, $66, $67, $68, $69, $70, $71, $72, $73, $74, $75, \
            $76, $77) from appended";
    /// All kinds; a small table.
    KINDS_READ = "select id, name from journal_kinds";
    /// A new kind of record. Unique (name).
    KIND_ADD = "insert into journal_kinds (name) values ($1) on conflict (name) do nothing";

    /// A page of a journal: at most $3 rows, and those that begin within the first $4 bytes. Primary key.
    JOURNAL_PAGE = "select j.seq, j.at, j.format, k.name, j.path, j.attempt, j.outcome, j.worker, j.body, j.output, j.snapshot, \
            j.logs \
        from (select page.*, sum(octet_length(body) + coalesce(octet_length(output), 0) + coalesce(octet_length(snapshot), 0) \
                + coalesce(octet_length(logs), 0)) over (order by seq rows between unbounded preceding and 1 preceding) as before \
            from (select * from journal where run_id = $1 and seq > $2 order by seq limit $3) page) j \
        join journal_kinds k on k.id = j.kind where coalesce(j.before, 0) < $4::bigint order by j.seq";
    /// One run. Primary key.
    RUN_READ = concat!("select ", run_columns!(), " from runs r where r.id = $1");
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
    /// What a takeover loads. `runs_open`.
    OPEN_RUNS = "select id from runs where partition = any($1) \
        and status in ('scheduled', 'running', 'waiting', 'paused', 'compensating') order by active_at desc, id";
    /// Counts by state: goes over the whole table, so it is asked for seldom.
    RUN_COUNTS = "select status, count(*) from runs group by status";
    /// Deletes an ended run with its tags and messages, and notes that its journal is to go. Primary keys,
    /// `idempotency_keys_of_run`.
    RUN_DELETE_IF_ENDED = concat!("with gone as (delete from runs where id = $1 and status in ", terminal!(), " \
            returning id, coalesce(finished_at, clock_timestamp()) as ended_at), \
        gone_tags as (delete from tags where run_id in (select id from gone)), \
        gone_waits as (delete from waits where run_id in (select id from gone)), \
        gone_inbox as (delete from inbox where run_id in (select id from gone)), \
        kept_keys as (update idempotency_keys k set free_from = gone.ended_at + $2::bigint * interval '1 millisecond' \
            from gone where k.run_id = gone.id) \
        insert into deleted_runs (run_id) select id from gone");
    /// A portion of the journal of a deleted run. Primary key.
    DELETED_JOURNAL_REMOVE = "delete from journal where run_id = $1 \
        and seq < (select min(seq) from journal where run_id = $1) + $2::bigint";
    /// The journal of a deleted run is gone. Primary key.
    DELETED_RUN_REMOVE = "delete from deleted_runs where run_id = $1";
    /// Deleted runs whose journals are not gone yet; a small table.
    DELETED_RUNS_READ = "select run_id from deleted_runs order by deleted_at limit $1";

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
    KEY_READ = "select run_id, request_hash from idempotency_keys where namespace = $1 and key = $2";

    /// Binds the keys that are free, in their order, so that no two callers wait for each other; locks the others. Primary key.
    KEYS_RESERVE_IF_FREE = "insert into idempotency_keys as k (namespace, key, run_id, request_hash) \
        select $1, w.key, w.run, w.hash from unnest($2::text[], $3::uuid[], $4::text[]) as w (key, run, hash) order by w.key \
        on conflict (namespace, key) do update set run_id = excluded.run_id, request_hash = excluded.request_hash, \
            reserved_at = clock_timestamp(), free_from = null where k.free_from <= clock_timestamp() returning k.key";
    /// What keys are bound to. Primary key.
    KEYS_READ = "select run_id, request_hash, key from idempotency_keys where namespace = $1 and key = any($2)";
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
        where answered_at < clock_timestamp() - $1::bigint * interval '1 millisecond' limit $2)";
    /// Keys that are free again. `idempotency_keys_free`.
    KEYS_SWEEP = "delete from idempotency_keys where (namespace, key) in (select namespace, key from idempotency_keys \
        where free_from <= clock_timestamp() limit $1) and free_from <= clock_timestamp()";
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
