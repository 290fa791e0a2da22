//! `[encryption]` of the processes: what does not start, and what the doctor tells.

mod support;

use rejoin_coordinator::store::postgres::{PostgresStore, StoreConfig, migrate};
use rejoin_coordinator::store::seal::Codec;
use rejoin_coordinator::store::{InboxMessage, Member, Store as _};
use rejoin_shared::ids::{Partition, RunId};
use support::{Database, program};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The exit code of a command line with these variables, and what it said.
fn run(line: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program(line);
    let output = command
        .envs(variables.iter().copied())
        .current_dir(folder.path())
        .output();
    let output = output.expect("the program");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_key_that_cannot_be_used_stops_the_start_and_is_not_shown() {
    let wrong = [
        ("REJOIN_ENCRYPTION__KEYS__K1", "geheimgeheimgeheim"),
        ("REJOIN_ENCRYPTION__KEY", "k1"),
    ];
    let (code, said) = run(&["coordinator", "--listen", "127.0.0.1:0"], &wrong);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("k1") && said.contains("openssl rand") && !said.contains("geheim"),
        "{said}"
    );
    let missing = [("REJOIN_ENCRYPTION__KEYS__K1", "file:/nonexistent/k1.key")];
    let (code, said) = run(&["coordinator", "--listen", "127.0.0.1:0"], &missing);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("/nonexistent/k1.key"), "{said}");
    let right = [("REJOIN_ENCRYPTION__KEYS__K1", KEY)];
    let (code, said) = run(&["coordinator", "--print-config"], &right);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("k1 = \"***\"") && !said.contains(KEY), "{said}");
}

#[test]
fn dev_without_a_database_does_not_pretend_to_seal() {
    let variables = [("REJOIN_ENCRYPTION__KEYS__K1", KEY), ("REJOIN_ENCRYPTION__KEY", "k1")];
    let (code, said) = run(&["dev", ".", "--listen", "127.0.0.1:0"], &variables);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("encryption.key") && said.contains("--database-url"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_without_the_key_that_is_written_with_does_not_start() {
    let Some(database) = Database::if_there_is_a_server().await else {
        return;
    };
    migrate(&database.url).await.expect("migrated");
    let codec = Codec::new([("k1", &[7; 32])], Some("k1")).expect("a codec");
    let config = StoreConfig {
        codec,
        ..StoreConfig::from(&database.url)
    };
    drop(PostgresStore::connect(config).await.expect("connected"));
    let url = [("REJOIN_DATABASE__URL", database.url.as_str())];
    let (code, said) = run(&["coordinator", "--listen", "127.0.0.1:0"], &url);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("key `k1`") && said.contains("encryption.keys"), "{said}");
    // With a key of its own neither, and it does not lock out those that have the right one.
    let own = [
        url[0],
        ("REJOIN_ENCRYPTION__KEYS__K2", KEY),
        ("REJOIN_ENCRYPTION__KEY", "k2"),
    ];
    let (code, said) = run(&["coordinator", "--listen", "127.0.0.1:0"], &own);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("key `k1`") && said.contains("encryption.keys"), "{said}");
    let right = store_with(&database.url, "k1", 7).await;
    assert_eq!(right.newest_key_lacking().await.expect("read"), None);
    let other = [url[0], ("REJOIN_ENCRYPTION__KEYS__K1", KEY)];
    let (code, said) = run(&["coordinator", "--listen", "127.0.0.1:0"], &other);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another key has this id"), "{said}");
    let newest = [
        url[0],
        (
            "REJOIN_ENCRYPTION__KEYS__K1",
            "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        ),
        ("REJOIN_ENCRYPTION__KEY", "k1"),
    ];
    let (_, said) = run(&["doctor"], &newest);
    assert!(said.contains("ok     encryption    key k1 is written with"), "{said}");
    database.end().await;
}

/// Keys of the tests by their ids, as the program reads them.
const KEYS: [(&str, &str); 2] = [
    (
        "REJOIN_ENCRYPTION__KEYS__K1",
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
    ),
    (
        "REJOIN_ENCRYPTION__KEYS__K2",
        "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
    ),
];

/// A store that writes with a key, whose bytes are all the same.
async fn store_with(url: &str, id: &str, byte: u8) -> PostgresStore {
    let config = StoreConfig {
        codec: Codec::new([(id, &[byte; 32])], Some(id)).expect("a codec"),
        ..StoreConfig::from(url)
    };
    PostgresStore::connect(config).await.expect("connected")
}

fn message() -> InboxMessage {
    InboxMessage {
        partition: Partition(3),
        run: RunId::new_in(Partition(3)),
        kind: "event".to_owned(),
        body: "{}".into(),
        dedupe_key: None,
        wants_verdict: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_sealed_anew_and_the_older_key_is_told_to_be_free() {
    let Some(database) = Database::if_there_is_a_server().await else {
        return;
    };
    migrate(&database.url).await.expect("migrated");
    let older = store_with(&database.url, "k1", 1).await;
    older.inbox_put(&message()).await.expect("put");
    let with = |newest: &'static str| {
        let url = [("REJOIN_DATABASE__URL", database.url.as_str())];
        [&url[..], &KEYS[..], &[("REJOIN_ENCRYPTION__KEY", newest)]].concat()
    };
    let (code, said) = run(&["encryption", "status"], &with("k2"));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said, "TABLE  KEY  PAYLOADS\ninbox  k1   1\n");
    let (code, said) = run(&["encryption", "reseal"], &with(""));
    assert!(code == Some(2) && said.contains("--to-plain"), "{said}");
    let (code, said) = run(&["encryption", "reseal", "--to-plain"], &with("k2"));
    assert!(code == Some(2) && said.contains("encryption.key is k2"), "{said}");

    let living = Member {
        name: "living".to_owned(),
        incarnation: uuid::Uuid::new_v4(),
        address: "http://living:1".to_owned(),
    };
    older.renew(&living, 60_000).await.expect("joined");
    let (code, said) = run(&["encryption", "reseal"], &with("k2"));
    assert!(
        code == Some(5) && said.contains("no coordinator writes with key `k2`"),
        "{said}"
    );
    older.leave(&living).await.expect("left");
    let (code, said) = run(&["encryption", "reseal"], &with("k2"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("inbox     1 rows, 1 sealed with k2 anew\n"), "{said}");
    assert!(said.contains("key k1 seals nothing any more"), "{said}");
    let (_, said) = run(&["doctor"], &with("k2"));
    assert!(
        said.contains("key k1 seals nothing here: it is new, or can be taken out of encryption.keys"),
        "{said}"
    );

    let unknown = store_with(&database.url, "k3", 3).await;
    unknown.inbox_put(&message()).await.expect("put");
    let (code, said) = run(&["encryption", "reseal", "--output", "json"], &with("k2"));
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("inbox: a message of kind event is sealed with key `k3`"),
        "{said}"
    );
    assert!(
        said.contains("\"is_done\": true") && said.contains("\"unreadable\": 1"),
        "{said}"
    );
    let (code, said) = run(&["encryption", "reseal", "--to-plain"], &with(""));
    assert!(
        code == Some(1) && said.contains("key k2 seals nothing any more"),
        "{said}"
    );
    let (_, said) = run(&["encryption", "status"], &with(""));
    assert_eq!(said, "TABLE  KEY      PAYLOADS\ninbox  (plain)  1\ninbox  k3       1\n");
    database.end().await;
}
