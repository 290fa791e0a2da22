-- Who may speak to the API, where tokens are required.

create table tokens (
    hash bytea primary key check (octet_length(hash) = 32),
    id uuid not null unique,
    namespace text collate "C" not null,
    name text not null,
    scope text collate "C" not null check (scope in ('viewer', 'operator', 'admin')),
    created_at timestamptz not null,
    expires_at timestamptz
);
comment on table tokens is 'Tokens of the API. A revoked one has no row any more.';
comment on column tokens.hash is 'SHA-256 of the token, which is kept nowhere.';
comment on column tokens.id is 'Names it to people; a UUID v7 of its making.';
comment on column tokens.namespace is 'The only namespace that it speaks for.';
comment on column tokens.name is 'Whose it is, for people and the audit log.';
comment on column tokens.scope is 'viewer reads, operator also starts and operates runs, admin also changes definitions and deletes.';
comment on column tokens.created_at is 'When it was made.';
comment on column tokens.expires_at is 'From when it is worth nothing; null: never.';
