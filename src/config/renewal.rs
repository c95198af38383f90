//! What of the configuration changes while the daemon runs: policies, access keys and users. Everything else
//! counts from the next start on.
//!
//! Files are looked at again and again; what cannot be used is told once and changes nothing. What is open
//! already is not touched: a policy is asked anew by the next request or connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{info, warn};

use super::check::{Policies, policy_file};
use super::{Config, ConfigError};
use crate::access::{Credentials, Policy};
use crate::mqtt::User;
use crate::stamp::Stamp;

/// The files that say who may do what, and what they said last.
#[derive(Debug)]
pub struct Renewal {
    file: Watched,
    policies: Vec<(Watched, Arc<Policy>)>,
    credentials: Arc<Credentials>,
    users: Vec<User>,
}

/// A file that is read again when it changes.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// Whether it was read since the stamp is what it is: a change in the same moment would not show.
    settled: bool,
    /// What is wrong with it, if that was told.
    told: Option<String>,
}

impl Watched {
    /// A file that was read just now, or a moment ago.
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), stamp: Stamp::of(path), settled: false, told: None }
    }

    /// Whether it has to be read.
    fn may_differ(&mut self) -> bool {
        let now = Stamp::of(&self.path);
        let differs = now != self.stamp || !self.settled;
        self.settled = now == self.stamp;
        self.stamp = now;
        differs
    }

    /// What was read; says once what is wrong with it.
    fn usable<T>(&mut self, read: Result<T, String>) -> Option<T> {
        match read {
            Ok(read) => {
                self.told = None;
                Some(read)
            }
            Err(reason) => {
                if self.told.as_ref() != Some(&reason) {
                    warn!(reason, "a file that has changed cannot be used; what it said before stays");
                    self.told = Some(reason);
                }
                None
            }
        }
    }
}

impl Renewal {
    /// Watches the files of `config`.
    pub fn of(config: &Config) -> Self {
        let mut renewal = Self {
            file: Watched::new(&config.path),
            policies: Vec::new(),
            credentials: Arc::clone(&config.credentials),
            users: config.mqtt.users.clone(),
        };
        renewal.watch(&config.policies);
        renewal
    }

    fn watch(&mut self, policies: &Policies) {
        for (path, policy) in policies {
            if !self.policies.iter().any(|(watched, _)| watched.path == *path) {
                self.policies.push((Watched::new(path), Arc::clone(policy)));
            }
        }
    }

    /// Reads what has changed. Policies and access keys are replaced where they are; users come back if they
    /// are others now.
    pub fn look(&mut self) -> Option<Vec<User>> {
        for (watched, policy) in &mut self.policies {
            if !watched.may_differ() {
                continue;
            }
            let Some(read) = watched.usable(policy_file(&watched.path)) else { continue };
            if read != **policy {
                policy.replace(&read);
                info!(path = %watched.path.display(), "a policy has changed");
            }
        }
        if !self.file.may_differ() {
            return None;
        }
        let known = self.policies.iter().map(|(watched, policy)| (watched.path.clone(), Arc::clone(policy)));
        let known: Policies = known.collect();
        let read = Config::load_again(&self.file.path, &known);
        let read = read.map_err(|error: ConfigError| error.to_string()).and_then(|config| self.check(config));
        let config = self.file.usable(read)?;
        self.watch(&config.policies);
        if let Ok(credentials) = Arc::try_unwrap(config.credentials)
            && credentials != *self.credentials
        {
            self.credentials.replace(credentials);
            info!("access keys have changed");
        }
        (config.mqtt.users != self.users).then(|| {
            info!("users have changed");
            self.users.clone_from(&config.mqtt.users);
            config.mqtt.users
        })
    }

    /// Who has nobody to ask lets everyone in: whether callers are asked is settled at the start.
    fn check(&self, config: Config) -> Result<Config, String> {
        let path = self.file.path.display();
        let begins = |what: &str| {
            Err(format!("{path}: the first and the last of [[{what}]] count from the next start on"))
        };
        if config.credentials.is_empty() != self.credentials.is_empty() {
            return begins("credentials");
        }
        if config.mqtt.users.is_empty() != self.users.is_empty() {
            return begins("mqtt.users");
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::access::{Decision, NoFacts, Role};

    const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA";

    fn key(id: &str, rest: &str) -> String {
        format!("[[credentials]]\naccess_key_id = \"{id}\"\nsecret_access_key = \"01234567\"\n{rest}\n")
    }

    fn user(name: &str) -> String {
        format!("[[mqtt.users]]\nname = \"{name}\"\npassword = \"{HASH}\"\nrole = \"reader\"\n")
    }

    fn policy(action: &str) -> String {
        format!(r#"{{"Statement": {{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}}}"#)
    }

    struct Site {
        folder: tempfile::TempDir,
    }

    impl Site {
        fn put(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).expect("a file");
        }

        fn may(config: &Config, id: &str, action: &str) -> Option<bool> {
            let credential = config.credentials.get(id)?;
            Some(credential.policy.bind(&NoFacts).decide_everywhere(action) == Some(Decision::Allowed))
        }
    }

    fn begun(text: &str) -> (Site, Config, Renewal) {
        let site = Site { folder: tempfile::tempdir().expect("a folder") };
        site.put("p.json", &policy("timestream:Select"));
        site.put("config.toml", text);
        let config = Config::load(&site.folder.path().join("config.toml")).expect("legal");
        let renewal = Renewal::of(&config);
        (site, config, renewal)
    }

    #[test]
    fn a_policy_counts_as_soon_as_its_file_has_changed() {
        let (site, config, mut renewal) = begun(&key("AKID", "policy = \"p.json\""));
        assert_eq!(renewal.look(), None);
        site.put("p.json", &policy("timestream:WriteRecords"));
        renewal.look();
        assert_eq!(Site::may(&config, "AKID", "timestream:WriteRecords"), Some(true));
        assert_eq!(Site::may(&config, "AKID", "timestream:Select"), Some(false));
        site.put("p.json", "{");
        renewal.look();
        fs::remove_file(site.folder.path().join("p.json")).expect("removed");
        renewal.look();
        assert_eq!(Site::may(&config, "AKID", "timestream:WriteRecords"), Some(true), "what counted stays");
        site.put("p.json", &policy("timestream:Select"));
        renewal.look();
        assert_eq!(Site::may(&config, "AKID", "timestream:Select"), Some(true));
    }

    #[test]
    fn keys_and_users_come_and_go() {
        let first = [key("AKIDONE", "role = \"admin\""), user("a")].concat();
        let (site, config, mut renewal) = begun(&first);
        let second = [key("AKIDTWO", "policy = \"p.json\""), user("a"), user("b")].concat();
        site.put("config.toml", &second);
        let users = renewal.look().expect("other users");
        assert_eq!(users.iter().map(|user| &*user.name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(Site::may(&config, "AKIDONE", "timestream:Select"), None);
        assert_eq!(Site::may(&config, "AKIDTWO", "timestream:Select"), Some(true));
        assert_eq!(renewal.look(), None, "told once");
        site.put("p.json", &policy("timestream:WriteRecords"));
        renewal.look();
        assert_eq!(
            Site::may(&config, "AKIDTWO", "timestream:Select"),
            Some(false),
            "the new file is watched"
        );
        // A file that cannot be read, or would let everyone in, changes nothing.
        for text in ["[[credentials]]", "", &key("AKIDTHREE", "role = \"admin\"")] {
            site.put("config.toml", text);
            assert_eq!(renewal.look(), None, "{text}");
            assert_eq!(Site::may(&config, "AKIDTHREE", "timestream:Select"), None, "{text}");
            assert!(config.credentials.get("AKIDTWO").is_some(), "{text}");
        }
    }

    #[test]
    fn roles_are_policies_of_their_own() {
        let (one, other) = (Role::Reader.policy(), Role::Reader.policy());
        assert_eq!(one, other);
        one.replace(&Role::Admin.policy());
        assert_ne!(one, other);
        assert_eq!(one, Role::Admin.policy());
    }
}
