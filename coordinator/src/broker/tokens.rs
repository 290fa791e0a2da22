//! Dispatch tokens: what an order carries and its completion echoes, so that what was never dispatched completes nothing.
//!
//! A token is a code over run, step and attempt (HMAC-SHA-256, cut to 128 bits) under a key that only coordinators have. A run's id
//! stands for its namespace: it is in one only. The same attempt has the same token however often it is published.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rejoin_shared::ids::{RunId, StepKey};
use sha2::Sha256;

/// What the code is for. With what follows it fits one block of the hash.
const PURPOSE: &[u8] = b"rejoin dispatch 1";
/// Bytes of a token.
const TOKEN_BYTES: usize = 16;

type Code = Hmac<Sha256>;

/// The keys: one makes tokens, all check them.
#[derive(Clone)]
pub struct Tokens {
    newest: Code,
    older: Vec<Code>,
    is_required: bool,
}

impl Tokens {
    /// Keyed with `newest`; tokens by one of `older` count too. Unless one `is_required`, a completion without any is taken in.
    #[must_use]
    pub fn new(newest: &[u8], older: &[&[u8]], is_required: bool) -> Tokens {
        Tokens {
            newest: keyed(newest),
            older: older.iter().map(|key| keyed(key)).collect(),
            is_required,
        }
    }

    /// The token of an attempt.
    #[must_use]
    pub fn of(&self, run: RunId, step: StepKey, attempt: u32) -> String {
        let code = over(&self.newest, run, step, attempt).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode(&code[..TOKEN_BYTES])
    }

    /// Whether what shows this token is of an attempt that was dispatched.
    #[must_use]
    pub fn admits(&self, run: RunId, step: StepKey, attempt: u32, token: Option<&str>) -> bool {
        let Some(token) = token else {
            return !self.is_required;
        };
        let Ok(shown) = URL_SAFE_NO_PAD.decode(token) else {
            return false;
        };
        if shown.len() != TOKEN_BYTES {
            return false;
        }
        let mut keys = std::iter::once(&self.newest).chain(&self.older);
        keys.any(|key| over(key, run, step, attempt).verify_truncated_left(&shown).is_ok())
    }
}

fn keyed(key: &[u8]) -> Code {
    Code::new_from_slice(key).expect("a key of any length will do")
}

fn over(key: &Code, run: RunId, step: StepKey, attempt: u32) -> Code {
    let mut code = key.clone();
    code.update(PURPOSE);
    code.update(run.0.as_bytes());
    code.update(&step.scope.to_be_bytes());
    code.update(&step.branch.to_be_bytes());
    code.update(&step.pos.to_be_bytes());
    code.update(&attempt.to_be_bytes());
    code
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens(***, {} older)", self.older.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: StepKey = StepKey {
        scope: 1,
        branch: 2,
        pos: 3,
    };

    #[test]
    fn a_token_is_good_for_its_attempt_and_no_other() {
        let tokens = Tokens::new(&[1; 32], &[], true);
        let (run, other_run) = (RunId(uuid::Uuid::now_v7()), RunId(uuid::Uuid::now_v7()));
        let token = tokens.of(run, STEP, 1);
        assert!(tokens.admits(run, STEP, 1, Some(&token)));
        let other_step = StepKey { pos: 4, ..STEP };
        for (run, step, attempt) in [(other_run, STEP, 1), (run, other_step, 1), (run, STEP, 2)] {
            assert!(!tokens.admits(run, step, attempt, Some(&token)));
        }
        for bad in ["", "AAAA", "no base64!", &token[..21], &format!("{token}AA")] {
            assert!(!tokens.admits(run, STEP, 1, Some(bad)), "{bad}");
        }
        assert!(!tokens.admits(run, STEP, 1, None));
        assert!(Tokens::new(&[1; 32], &[], false).admits(run, STEP, 1, None));
        assert!(!Tokens::new(&[1; 32], &[], false).admits(run, STEP, 1, Some("AAAA")));
    }

    #[test]
    fn tokens_of_the_older_key_count_while_it_is_named_and_new_ones_are_by_the_newest() {
        let run = RunId(uuid::Uuid::now_v7());
        let (old, new) = ([1; 32], [2; 32]);
        let before = Tokens::new(&old, &[], true).of(run, STEP, 1);
        let both = Tokens::new(&new, &[&old], true);
        assert!(both.admits(run, STEP, 1, Some(&before)));
        let after = both.of(run, STEP, 1);
        assert_ne!(before, after);
        let new_only = Tokens::new(&new, &[], true);
        assert!(new_only.admits(run, STEP, 1, Some(&after)));
        assert!(!new_only.admits(run, STEP, 1, Some(&before)));
    }

    #[test]
    fn keys_do_not_show() {
        assert_eq!(
            format!("{:?}", Tokens::new(b"geheim", &[], true)),
            "Tokens(***, 0 older)"
        );
    }
}
