//! The program without the settings of whoever runs the tests, and empty databases.
#![allow(dead_code, reason = "each test file uses its part")]

use std::process::{Command, Stdio};

/// The program with this command line.
pub fn program(line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("REJOIN_")) {
        command.env_remove(key);
    }
    command.args(line).stdin(Stdio::null());
    command
}

/// An empty database.
pub struct Database {
    admin_url: String,
    name: String,
    pub url: String,
}

impl Database {
    /// One on the server that the tests are told of; without one there is none, unless servers are required.
    pub async fn if_there_is_a_server() -> Option<Database> {
        let Ok(admin_url) = std::env::var("REJOIN_TEST_DATABASE_URL") else {
            assert!(
                std::env::var("REJOIN_TEST_REQUIRE_SERVERS").is_err(),
                "servers are required"
            );
            return None;
        };
        Some(Database::new(&admin_url).await)
    }

    pub async fn new(admin_url: &str) -> Database {
        let name = format!("rejoin_cli_{}", uuid::Uuid::new_v4().simple());
        let (base, query) = admin_url.split_once('?').unwrap_or((admin_url, ""));
        let host = base.rsplit_once('/').expect("a database's name").0;
        let gap = if query.is_empty() { "" } else { "?" };
        let database = Database {
            url: format!("{host}/{name}{gap}{query}"),
            admin_url: admin_url.to_owned(),
            name,
        };
        database
            .sql("create database", "encoding 'UTF8' template template0")
            .await;
        database
    }

    /// Drops it.
    pub async fn end(self) {
        self.sql("drop database", "with (force)").await;
    }

    async fn sql(&self, verb: &str, how: &str) {
        let connected = tokio_postgres::connect(&self.admin_url, tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("the database");
        let driver = tokio::spawn(connection);
        let statement = format!("{verb} {} {how}", self.name);
        client.batch_execute(&statement).await.expect("the statement");
        drop(client);
        drop(driver.await);
    }
}
