-- Payloads may be sealed (AES-256-GCM) before they are written: 0x01, marks, length of the key's id, the id, then what only the key
-- opens. Whoever reads them as JSON gets null.

create or replace function rejoin_json(bytes bytea) returns json
    language sql immutable strict parallel safe
    as $$ select case when substr(bytes, 1, 1) = '\x01' then null else convert_from(bytes, 'UTF8')::json end $$;
comment on function rejoin_json(bytea) is 'JSON text as it was stored, digit for digit; null where it is sealed.';

create function rejoin_key_of(bytes bytea) returns text
    language sql immutable strict parallel safe
    as $$ select case when substr(bytes, 1, 1) = '\x01' then convert_from(substr(bytes, 4, get_byte(bytes, 2)), 'UTF8') end $$;
comment on function rejoin_key_of(bytea) is 'Id of the key that a payload is sealed with; null where it is plain.';

create function rejoin_is_awaited(first_body bytea) returns boolean
    language sql immutable strict parallel safe
    as $$ select case when substr(first_body, 1, 1) = '\x01' then get_byte(first_body, 1) & 1 = 0
        else (rejoin_json(first_body) ->> 'is_awaited')::boolean end $$;
comment on function rejoin_is_awaited(bytea) is 'Whether a parent waits for the run with this first record; a mark where it is sealed.';

create table encryption_keys (
    id text collate "C" primary key,
    proof bytea not null,
    added_at timestamptz not null default clock_timestamp()
);
comment on table encryption_keys is 'Keys that payloads were sealed with; the keys themselves are nowhere in the database.';
comment on column encryption_keys.id is 'The id that stands before each payload.';
comment on column encryption_keys.proof is 'A known text, sealed: a key that does not open it is another one.';
comment on column encryption_keys.added_at is 'When something was first sealed with it.';
