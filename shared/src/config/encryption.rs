//! `[encryption]`: the keys that payloads are sealed with before they are written to the database.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret, require};

/// Length of a key's id at most: it stands before each payload.
const ID_CHARS_MAX: usize = 32;
/// What a value begins with that names a file.
const FILE: &str = "file:";
/// What a key is.
const KEY_RULE: &str =
    "32 random bytes in base64 (`openssl rand -base64 32`), or `file:` and the path of a file with that";

/// `[encryption]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Encryption {
    /// Id of the key that payloads are sealed with before they are written to PostgreSQL; empty: they are written in plain text. Example: `k2`.
    pub key: String,
    /// Keys by their ids (up to 32 of `a-z`, `0-9`, `_`, `-`), each 32 random bytes in base64 (`openssl rand -base64 32`), or `file:` and the path of a file with that; all that the database may hold payloads of. A variable a key: `REJOIN_ENCRYPTION__KEYS__K2`. Example: `{ k1 = "file:/etc/rejoin/k1.key", k2 = "file:/etc/rejoin/k2.key" }`.
    #[schemars(with = "BTreeMap<String, String>")]
    pub keys: BTreeMap<String, Secret>,
}

/// A key, ready for use.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey {
    /// Its id.
    pub id: String,
    /// Itself.
    pub bytes: [u8; 32],
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey {{ id: {:?}, bytes: *** }}", self.id)
    }
}

impl Encryption {
    /// Checks ids, and that the key to write with is there.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        for id in self.keys.keys() {
            let fits = (1..=ID_CHARS_MAX).contains(&id.len()) && id.chars().all(is_plain);
            let rule = "ids of keys are up to 32 of `a-z`, `0-9`, `_`, `-`";
            require(fits, "encryption.keys", id, rule)?;
        }
        let is_there = self.key.is_empty() || self.keys.contains_key(&self.key);
        let rule = "the id of one of encryption.keys, or empty";
        require(is_there, "encryption.key", &self.key, rule)
    }

    /// The id of the key to write with; none: payloads are written in plain text.
    #[must_use]
    pub fn newest(&self) -> Option<&str> {
        Some(self.key.as_str()).filter(|id| !id.is_empty())
    }

    /// Reads the keys, from their files where they name some.
    ///
    /// # Errors
    /// [`ConfigError`] that names the key and what is wrong with it, never itself.
    pub fn read(&self) -> Result<Vec<EncryptionKey>, ConfigError> {
        self.keys.iter().map(|(id, secret)| read(id, secret)).collect()
    }
}

fn read(id: &str, secret: &Secret) -> Result<EncryptionKey, ConfigError> {
    let given = secret.reveal();
    let text = match given.strip_prefix(FILE) {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            read.map_err(|error| ConfigError::File {
                file: path.to_owned(),
                reason: format!("encryption.keys.{id}: {error}"),
            })?
        }
        None => given.to_owned(),
    };
    let decoded = STANDARD.decode(text.trim()).ok();
    let bytes = decoded.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let id = id.to_owned();
    match bytes {
        Some(bytes) => Ok(EncryptionKey { id, bytes }),
        None => Err(ConfigError::Value {
            field: "encryption.keys",
            value: id,
            reason: KEY_RULE,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn of(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::load(None, pairs)
    }

    #[test]
    fn keys_come_from_variables_and_files_and_show_nowhere() {
        let folder = std::env::temp_dir().join(format!("rejoin-keys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("k2.key");
        std::fs::write(&file, format!("{KEY}\n")).expect("a file");
        let named = format!("file:{}", file.display());
        let variables = [
            ("REJOIN_ENCRYPTION__KEYS__K1", KEY),
            ("REJOIN_ENCRYPTION__KEYS__K2", &named),
            ("REJOIN_ENCRYPTION__KEY", "k2"),
        ];
        let settings = of(&variables).expect("valid");
        let keys = settings.encryption.read().expect("readable");
        let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
        assert_eq!((ids, settings.encryption.newest()), (vec!["k1", "k2"], Some("k2")));
        assert!(keys.iter().all(|key| key.bytes[..3] == [0, 1, 2]));
        for shown in [settings.printed(), format!("{settings:?}"), format!("{keys:?}")] {
            assert!(!shown.contains(KEY) && shown.contains("***"), "{shown}");
        }
        std::fs::remove_dir_all(&folder).expect("removed");
        let gone = settings.encryption.read().expect_err("no file").to_string();
        assert!(gone.contains("k2.key") && gone.contains("encryption.keys.k2"), "{gone}");
    }

    #[test]
    fn a_key_that_cannot_be_used_is_named_and_not_shown() {
        for wrong in ["geheim", "Z2VoZWlt", ""] {
            let settings = of(&[("REJOIN_ENCRYPTION__KEYS__K1", wrong)]).expect("read later");
            let error = settings.encryption.read().expect_err("no key").to_string();
            assert!(error.contains("k1") && error.contains("openssl rand"), "{error}");
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn the_key_to_write_with_is_one_of_the_keys() {
        let error = of(&[("REJOIN_ENCRYPTION__KEY", "k1")]).expect_err("there is none");
        assert!(error.to_string().starts_with("encryption.key = k1:"), "{error}");
        assert_eq!(Settings::default().encryption.newest(), None);
        let long = format!("REJOIN_ENCRYPTION__KEYS__{}", "K".repeat(33));
        let error = of(&[(&long, KEY)]).expect_err("too long an id");
        assert!(error.to_string().contains("ids of keys"), "{error}");
    }
}
