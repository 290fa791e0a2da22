//! `token create`, `token list`, `token revoke`: in the database itself, because whoever may write there may do everything.

use rejoin_coordinator::api::access::{NewToken, create};
use rejoin_coordinator::store::Store as _;
use rejoin_coordinator::store::StoreError;
use rejoin_coordinator::store::postgres::PostgresStore;
use rejoin_coordinator::store::tokens::{Scope, TokenRow, TokenStore as _};
use rejoin_shared::ids::Namespace;
use rejoin_shared::json::Json;

use crate::args::{Global, ListArgs, ServerArgs, TokenCommand};
use crate::exit::{self, Failure};
use crate::fleet::show_items;
use crate::output;
use crate::output::table::{Column, member};
use crate::serve::{database, settings};

/// Carries a `token` command out.
pub async fn run(global: &Global, command: TokenCommand) -> Result<u8, Failure> {
    match command {
        TokenCommand::Create {
            servers,
            name,
            scope,
            expires,
        } => {
            if name.trim().is_empty() {
                return Err(Failure::usage(
                    "a token needs a name: it tells in logs and lists whose it is",
                ));
            }
            if expires.is_some_and(|lifetime| lifetime.is_zero()) {
                return Err(Failure::usage("--expires 0: the token would never be valid"));
            }
            let new = NewToken {
                name,
                namespace: namespace(global)?,
                scope: scope.parse::<Scope>().map_err(Failure::usage)?,
                lifetime: expires,
            };
            make(&servers, global, new).await
        }
        TokenCommand::List { servers, list } => show(&servers, global, &list).await,
        TokenCommand::Revoke { servers, id } => {
            let store = store(&servers).await?;
            match store.remove_token(id).await.map_err(wrong)? {
                true => output::note(&format!("token {id} revoked")),
                false => return Err(Failure::new(exit::NOT_FOUND, format!("there is no token {id}"))),
            }
            Ok(exit::OK)
        }
    }
}

fn namespace(global: &Global) -> Result<Namespace, Failure> {
    match &global.namespace {
        None => Ok(Namespace::default_name()),
        Some(name) if Namespace::is_valid(name) => Ok(Namespace(name.as_str().into())),
        Some(name) => Err(Failure::usage(format!("{name:?} is no name of a namespace"))),
    }
}

async fn store(servers: &ServerArgs) -> Result<PostgresStore, Failure> {
    database(&settings(servers)?).await
}

fn wrong(error: StoreError) -> Failure {
    Failure::general(format!("tokens: {error}"))
}

async fn make(servers: &ServerArgs, global: &Global, new: NewToken) -> Result<u8, Failure> {
    let store = store(servers).await?;
    let now = store.now().await.map_err(wrong)?;
    let (text, row) = create(&store, new, now).await.map_err(wrong)?;
    let mut shown = view(&row);
    shown.object_mut().insert("token".into(), Json::str(&text));
    output::note("it is shown only now; keep it in REJOIN_TOKEN, or in a context of the client's file");
    output::value(global.output, &shown.to_bytes(), || format!("{text}\n"))?;
    Ok(exit::OK)
}

fn view(row: &TokenRow) -> Json {
    let time = |at: rejoin_shared::time::Timestamp| Json::str(&at.to_string());
    Json::from_entries([
        ("id", Json::str(&row.id.to_string())),
        ("name", Json::str(&row.name)),
        ("namespace", Json::str(&row.namespace.0)),
        ("scope", Json::str(row.scope.as_str())),
        ("created_at", time(row.created_at)),
        ("expires_at", row.expires_at.map(time).unwrap_or_default()),
    ])
}

async fn show(servers: &ServerArgs, global: &Global, list: &ListArgs) -> Result<u8, Failure> {
    let columns = [
        Column {
            head: "TOKEN",
            cell: |token| member(token, "id"),
        },
        Column {
            head: "NAME",
            cell: |token| member(token, "name"),
        },
        Column {
            head: "NAMESPACE",
            cell: |token| member(token, "namespace"),
        },
        Column {
            head: "SCOPE",
            cell: |token| member(token, "scope"),
        },
        Column {
            head: "CREATED",
            cell: |token| member(token, "created_at"),
        },
        Column {
            head: "EXPIRES",
            cell: |token| member(token, "expires_at"),
        },
    ];
    let store = store(servers).await?;
    let read = async || {
        let rows = store.tokens(None, list.limit.max(1)).await.map_err(wrong)?;
        Ok(rows.iter().map(view).collect())
    };
    show_items(global, list, &columns, read).await
}
