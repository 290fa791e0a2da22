-- Large payloads are compressed by lz4 where the server can (PostgreSQL 14 and newer, built with it): pglz was two fifths of the
-- processor time that PostgreSQL took for a run with a context of 4 MiB. What is stored already stays as it is, and is read either way.

do $$
declare
    it record;
begin
    for it in
        select c.table_name, c.column_name
            from information_schema.columns c
            join information_schema.tables t using (table_schema, table_name)
            where c.table_schema = current_schema() and c.data_type = 'bytea' and t.table_type = 'BASE TABLE'
    loop
        execute format('alter table %I alter column %I set compression lz4', it.table_name, it.column_name);
    end loop;
exception
    when feature_not_supported or syntax_error or invalid_parameter_value then
        raise notice 'this server does not compress by lz4: pglz stays';
end
$$;
