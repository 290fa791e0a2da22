-- A run that is started without naming a version begins with the newest one. Looked up before each start that is a question to
-- the database of its own; so a coordinator begins with the newest it knows of, and the append that makes the run durable refuses
-- it where a newer one is registered.

create function rejoin_expect_newest(at timestamptz, of_namespaces text[], of_workflows text[], of_versions integer[])
returns timestamptz language plpgsql as $$
declare
    place bigint;
begin
    select min(n.ord) into place
        from unnest(of_namespaces, of_workflows, of_versions) with ordinality as n (namespace, workflow, version, ord)
        where exists (select from workflows w
            where w.namespace = n.namespace and w.name = n.workflow and w.version > n.version);
    if place is not null then
        raise exception using errcode = 'RJ003', message = 'a newer version of a workflow is registered', detail = place::text;
    end if;
    return at;
end $$;
comment on function rejoin_expect_newest is 'Fails an append whose runs begin with versions that are not the newest any more; says which.';
