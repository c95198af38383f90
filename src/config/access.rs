//! `[[credentials]]`, and what any caller is given: a role or a policy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::check::{Scope, Wrong, wrong};
use crate::access::{Credential, Credentials, Policy, Role, Secret};

/// The least and the most characters of an access key's id, as AWS has them.
const KEY_ID_CHARACTERS: std::ops::RangeInclusive<usize> = 3..=128;
/// The least characters of a secret key: shorter ones can be guessed.
const SECRET_CHARACTERS_MIN: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    name: Option<String>,
    role: Option<String>,
    policy: Option<PathBuf>,
}

/// All access keys.
pub(super) fn check(all: Vec<Written>, scope: &Scope) -> Result<Credentials, Wrong> {
    let mut credentials = Credentials::default();
    for written in all {
        let id = written.access_key_id.clone();
        if !credentials.add(written.check(scope)?) {
            return Err(wrong("credentials.access_key_id")(format!("`{id}` is there twice")));
        }
    }
    Ok(credentials)
}

impl Written {
    fn check(self, scope: &Scope) -> Result<Credential, Wrong> {
        let id = self.access_key_id;
        let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if !KEY_ID_CHARACTERS.contains(&id.len()) || !id.chars().all(legal) {
            let (least, most) = KEY_ID_CHARACTERS.into_inner();
            let reason = format!("`{id}` is not {least} to {most} letters, digits, `_`, `-` and `.`");
            return Err(wrong("credentials.access_key_id")(reason));
        }
        if self.secret_access_key.chars().count() < SECRET_CHARACTERS_MIN {
            let reason = format!("that of `{id}` has fewer than {SECRET_CHARACTERS_MIN} characters");
            return Err(wrong("credentials.secret_access_key")(reason));
        }
        let policy = granted(self.role.as_deref(), self.policy.as_deref(), scope)
            .map_err(|reason| wrong("credentials.policy")(format!("`{id}`: {reason}")))?;
        Ok(Credential {
            name: self.name.unwrap_or_else(|| id.clone()).into(),
            access_key_id: id,
            secret_access_key: Secret::new(self.secret_access_key),
            session_token: self.session_token.map(Secret::new),
            policy,
        })
    }
}

/// What a role or a policy file allows; exactly one of them has to be there.
pub(super) fn granted(
    role: Option<&str>,
    policy: Option<&Path>,
    scope: &Scope,
) -> Result<Arc<Policy>, String> {
    match (role, policy) {
        (Some(word), None) => match Role::named(word) {
            Some(role) => Ok(Arc::new(role.policy())),
            None => Err(format!("the role `{word}` is none of \"admin\", \"writer\" and \"reader\"")),
        },
        (None, Some(path)) => scope.policy(path),
        _ => Err("it needs either a role or a policy".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Decision, NoFacts};
    use crate::config::Config;

    fn read(text: &str, folder: &Path) -> Result<Config, String> {
        Config::parse(text, &folder.join("config.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_have_a_role_or_a_policy() {
        let folder = tempfile::tempdir().expect("a folder");
        let policy = r#"{"Statement": {"Effect": "Allow", "Action": "timestream:Select", "Resource": "*"}}"#;
        std::fs::write(folder.path().join("read.json"), policy).expect("a file");
        let text = "[[credentials]]\naccess_key_id = \"AKIDONE\"\nsecret_access_key = \"01234567\"\nrole = \"admin\"\n\
                    [[credentials]]\naccess_key_id = \"AKIDTWO\"\nsecret_access_key = \"01234567\"\nname = \"app\"\n\
                    policy = \"read.json\"\n";
        let config = read(text, folder.path()).expect("legal");
        let may = |id: &str, action: &str| {
            let credential = config.credentials.get(id).expect("a key");
            credential.policy.bind(&NoFacts).decide_everywhere(action) == Some(Decision::Allowed)
        };
        assert!(may("AKIDONE", "timestream:DeleteTable") && may("AKIDTWO", "timestream:Select"));
        assert!(!may("AKIDTWO", "timestream:WriteRecords"));
        assert_eq!(&*config.credentials.get("AKIDTWO").expect("a key").name, "app");
        assert!(!format!("{config:?}").contains("01234567"), "a secret is printed");
    }

    #[test]
    fn mistakes_name_the_key() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("bad.json"), "{}").expect("a file");
        let with = |id: &str, secret: &str, rest: &str| {
            let text = format!(
                "[[credentials]]\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n{rest}\n"
            );
            (read(&text, folder.path()), text)
        };
        for (id, secret, rest, expected) in [
            ("AK ID", "01234567", "role = \"admin\"", "credentials.access_key_id: `AK ID` is not"),
            ("AKID", "short", "role = \"admin\"", "credentials.secret_access_key: that of `AKID` has fewer"),
            ("AKID", "01234567", "", "credentials.policy: `AKID`: it needs either a role or a policy"),
            ("AKID", "01234567", "role = \"root\"", "the role `root` is none of"),
            ("AKID", "01234567", "role = \"admin\"\npolicy = \"x\"", "it needs either"),
            ("AKID", "01234567", "policy = \"none.json\"", "none.json: No such file"),
            ("AKID", "01234567", "policy = \"bad.json\"", "bad.json: it is not a policy"),
            ("AKID", "01234567", "roel = \"admin\"", "unknown field `roel`"),
        ] {
            let error = with(id, secret, rest).0.expect_err("refused");
            assert!(error.contains(expected), "{error} lacks {expected}");
        }
        let twice = with("AKID", "01234567", "role = \"admin\"").1.repeat(2);
        let error = read(&twice, folder.path()).expect_err("refused");
        assert!(error.contains("`AKID` is there twice"), "{error}");
    }
}
