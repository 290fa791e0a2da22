//! `rejoin migrate` of a program that is older than the schema.

mod support;

use rejoin_coordinator::store::postgres::migrate;
use support::{Database, program};
use tokio_postgres::NoTls;

/// The exit code of a command line at this database, and what it said.
fn run(line: &[&str], url: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program(line);
    command.env("REJOIN_DATABASE__URL", url).current_dir(folder.path());
    let output = command.output().expect("the program");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

async fn change(database: &Database, sql: &str) {
    let (client, connection) = tokio_postgres::connect(&database.url, NoTls).await.expect("connected");
    let driver = tokio::spawn(connection);
    client.batch_execute(sql).await.expect("changed");
    drop(client);
    drop(driver.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_older_than_the_schema_names_what_it_does_not_know_and_changes_nothing() {
    let Some(database) = Database::if_there_is_a_server().await else {
        return;
    };
    migrate(&database.url).await.expect("migrated");
    let check = ["migrate", "--check"];
    let (code, said) = run(&check, &database.url);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("up to date"), "{said}");

    let newer = "insert into refinery_schema_history (version, name, applied_on, checksum) \
        values (1000, 'weather', '2026-01-01T00:00:00Z', '1')";
    change(&database, newer).await;
    let (code, said) = run(&check, &database.url);
    assert_eq!(code, Some(0), "its coordinators work on it: {said}");
    assert!(
        said.contains("unknown  V1000__weather\n") && said.contains("the schema is newer than this program"),
        "{said}"
    );
    let (code, said) = run(&["migrate"], &database.url);
    assert_eq!(code, Some(1), "{said}");
    let (_, said) = run(&["doctor"], &database.url);
    assert!(
        said.contains("ok     migrations") && said.contains("newer than this program: V1000__weather"),
        "{said}"
    );

    let older = "delete from refinery_schema_history \
        where version = (select max(version) from refinery_schema_history where version < 1000)";
    change(&database, older).await;
    let (code, said) = run(&check, &database.url);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("pending  V") && said.contains("unknown  V1000__weather"),
        "{said}"
    );
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_lacks_for_a_migration_is_named() {
    let Some(database) = Database::if_there_is_a_server().await else {
        return;
    };
    let role = format!("rejoin_cli_{}", uuid::Uuid::new_v4().simple());
    change(
        &database,
        &format!("create role {role} login password 'x'; revoke create on schema public from public"),
    )
    .await;
    let (_, place) = database.url.rsplit_once('@').expect("a user");
    let url = format!("postgres://{role}:x@{place}");
    let (code, said) = run(&["migrate"], &url);
    assert_eq!(code, Some(1), "{said}");
    let reason = "error asserting migrations table: permission denied for schema public (42501)";
    assert!(said.contains(reason), "{said}");

    migrate(&database.url).await.expect("migrated");
    let reason = "permission denied for table refinery_schema_history (42501)";
    for line in [&["migrate", "--check"][..], &["doctor"]] {
        let (code, said) = run(line, &url);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(reason), "{line:?}: {said}");
    }
    change(&database, &format!("drop role {role}")).await;
    database.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_of_a_database_that_it_takes_no_writes() {
    let Some(database) = Database::if_there_is_a_server().await else {
        return;
    };
    migrate(&database.url).await.expect("migrated");
    let name = database.url.rsplit_once('/').expect("a database").1;
    let name = name.split('?').next().unwrap_or_default();
    change(
        &database,
        &format!("alter database {name} set default_transaction_read_only = on"),
    )
    .await;
    let (code, said) = run(&["doctor"], &database.url);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("takes no writes: default_transaction_read_only is on"),
        "{said}"
    );
    assert!(
        !said.contains("rejoin coordinator"),
        "nothing of what follows from it: {said}"
    );
    database.end().await;
}

#[test]
fn a_database_setting_that_cannot_be_used_is_an_error_of_the_configuration() {
    for line in [
        &["migrate"][..],
        &["migrate", "--check"],
        &["gc", "--yes"],
        &["coordinator"],
    ] {
        let (code, said) = run(line, "mysql://me:geheim@h/d");
        assert_eq!(code, Some(2), "{line:?}: {said}");
        assert!(
            said.contains("begins with mysql://") && !said.contains("geheim"),
            "{said}"
        );
    }
    let (code, said) = run(&["migrate"], "postgres://h/d?sslmode=prefer");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("database.url") && said.contains("sslmode"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_on_a_new_database_says_how_it_gets_its_tables() {
    let Some(database) = Database::if_there_is_a_server().await else {
        return;
    };
    let (code, said) = run(&["coordinator", "--listen", "127.0.0.1:0"], &database.url);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("by `rejoin migrate`"), "{said}");
    database.end().await;
}
