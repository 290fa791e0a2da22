//! Tokens: found by their hashes while they are valid.

use std::time::Duration;

use rejoin_coordinator::store::tokens::{Scope, TokenRow};
use rejoin_shared::time::Timestamp;
use uuid::Uuid;

use crate::subject::{Subject, namespace};

on_every_store!(
    a_token_is_read_back_by_its_hash_until_it_is_removed,
    an_expired_token_is_listed_and_not_found,
    tokens_come_in_the_order_of_their_making_in_pages,
);

fn token(scope: Scope) -> TokenRow {
    let id = Uuid::now_v7();
    let mut hash = [7; 32];
    hash[..16].copy_from_slice(id.as_bytes());
    TokenRow {
        hash,
        id,
        namespace: namespace("default"),
        name: "ci".to_owned(),
        scope,
        created_at: Timestamp(1_800_000_000_000_001),
        expires_at: None,
    }
}

async fn a_token_is_read_back_by_its_hash_until_it_is_removed(s: &Subject) {
    for scope in Scope::ALL {
        let row = token(scope);
        assert_eq!(s.tokens.token(&row.hash).await.expect("read"), None);
        s.tokens.add_token(&row).await.expect("added");
        assert_eq!(s.tokens.token(&row.hash).await.expect("read"), Some(row.clone()));
        assert!(s.tokens.remove_token(row.id).await.expect("removed"));
        assert!(!s.tokens.remove_token(row.id).await.expect("gone"));
        assert_eq!(s.tokens.token(&row.hash).await.expect("read"), None);
    }
}

async fn an_expired_token_is_listed_and_not_found(s: &Subject) {
    let now = s.store.now().await.expect("the time");
    let expired = TokenRow {
        expires_at: Some(Timestamp(now.0 - 1)),
        ..token(Scope::Viewer)
    };
    let valid = TokenRow {
        expires_at: Some(now.plus(Duration::from_secs(3_600))),
        ..token(Scope::Viewer)
    };
    for row in [&expired, &valid] {
        s.tokens.add_token(row).await.expect("added");
    }
    assert_eq!(s.tokens.token(&expired.hash).await.expect("read"), None);
    assert_eq!(s.tokens.token(&valid.hash).await.expect("read"), Some(valid.clone()));
    assert_eq!(s.tokens.tokens(None, 10).await.expect("listed"), [expired, valid]);
}

async fn tokens_come_in_the_order_of_their_making_in_pages(s: &Subject) {
    let rows: Vec<TokenRow> = Scope::ALL.map(token).to_vec();
    for row in rows.iter().rev() {
        s.tokens.add_token(row).await.expect("added");
    }
    assert_eq!(s.tokens.tokens(None, 2).await.expect("listed"), rows[..2]);
    assert_eq!(s.tokens.tokens(Some(rows[1].id), 2).await.expect("listed"), rows[2..]);
}
