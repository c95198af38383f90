//! Who a client is: its user name and password, its certificate, or the URL it signed.
//!
//! Passwords are kept as argon2 hashes. Checking one takes tens of milliseconds and megabytes on
//! purpose, so it is done on threads of their own, a few at a time, and what was right once is remembered
//! as a keyed digest until the daemon stops: a fleet that comes back after a restart of its network is
//! not held up by it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tracing::error;

use super::lock;
use super::slowdown::{Crowded, Slowdown};
use crate::access::{Certificate, Credential, Credentials, Policy};

/// Passwords that are checked at once, each with the memory its hash asks for.
const CHECKED_AT_ONCE: usize = 2;
/// The most memory a hash may ask for, in KiB; argon2's own recommendation is 19 MiB.
const HASH_KIB_MAX: u32 = 256 * 1024;

/// A hash for `[[mqtt.users]]`.
///
/// # Errors
/// When the machine gives no randomness.
pub fn hash_password(password: &[u8]) -> password_hash::Result<String> {
    Ok(Argon2::default().hash_password(password)?.to_string())
}

/// Someone who may connect with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user name.
    pub name: Arc<str>,
    hash: PasswordHash,
    /// What the user may do.
    pub policy: Arc<Policy>,
}

impl User {
    /// The user `name`, whose password has `hash`.
    ///
    /// # Errors
    /// When the hash is none of argon2, in words for the operator.
    pub fn new(name: &str, hash: &str, policy: Arc<Policy>) -> Result<Self, String> {
        let wrong = "it is not an argon2 hash; `tidemill passwd` makes one";
        let hash = PasswordHash::new(hash).map_err(|_| wrong)?;
        if !hash.algorithm.as_str().starts_with("argon2") || hash.hash.is_none() {
            return Err(wrong.into());
        }
        let memory = Params::try_from(&hash).map_err(|_| wrong)?.m_cost();
        if memory > HASH_KIB_MAX {
            return Err(format!("its hash takes {memory} KiB to check, more than {HASH_KIB_MAX}"));
        }
        Ok(Self { name: name.into(), hash, policy })
    }
}

/// What a client has proved before it says CONNECT.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    /// Nothing yet: its CONNECT may carry a user name and a password.
    Nothing,
    /// It has the key of this certificate.
    Certificate(Arc<Certificate>),
    /// It has signed its URL with this key.
    Key(Arc<Credential>),
}

/// Why a login was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// No such user, or not the password.
    Wrong,
    /// Too many logins from the address are being checked.
    Crowded,
}

/// Everyone who may connect.
#[derive(Debug)]
pub struct Logins {
    /// They may change; whether there are any stays.
    users: RwLock<HashMap<Arc<str>, Arc<User>>>,
    credentials: Arc<Credentials>,
    checking: Arc<Semaphore>,
    /// What was right, once for each user at most.
    right: Mutex<HashMap<Arc<str>, RightPassword>>,
    digest_key: [u8; 32],
    slowdown: Slowdown,
}

/// A password that was right.
#[derive(Debug)]
struct RightPassword {
    /// Whose it was; a user that is read anew is another one.
    user: Arc<User>,
    digest: [u8; 32],
}

impl Logins {
    /// Users with passwords, and those who sign URLs with access keys.
    pub fn new(users: Vec<User>, credentials: Arc<Credentials>) -> Self {
        let halves = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()];
        let mut digest_key = [0; 32];
        digest_key.copy_from_slice(halves.as_flattened());
        Self {
            users: RwLock::new(by_name(users)),
            credentials,
            checking: Arc::new(Semaphore::new(CHECKED_AT_ONCE)),
            right: Mutex::default(),
            digest_key,
            slowdown: Slowdown::default(),
        }
    }

    /// From now on these are the users. Who is connected stays so.
    pub fn replace_users(&self, users: Vec<User>) {
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = by_name(users);
        lock(&self.right).clear();
    }

    fn user(&self, name: &str) -> Option<Arc<User>> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Whether anyone has a password; if not, user names mean nothing.
    pub(crate) fn has_users(&self) -> bool {
        !self.users.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The access keys.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Checks a user name and its password. Resolves late when they are wrong.
    ///
    /// # Errors
    /// When they are wrong, or too many others from `address` are being checked.
    pub(crate) async fn check(
        &self,
        name: &str,
        password: Bytes,
        address: IpAddr,
    ) -> Result<Arc<User>, LoginError> {
        let user = self.user(name);
        match self.slowdown.check(address, self.verify(user, password)).await {
            Ok(Some(user)) => Ok(user),
            Ok(None) => Err(LoginError::Wrong),
            Err(Crowded) => Err(LoginError::Crowded),
        }
    }

    async fn verify(&self, user: Option<Arc<User>>, password: Bytes) -> Option<Arc<User>> {
        let digest = self.digest(&password);
        if let Some(user) = &user
            && lock(&self.right).get(&user.name).is_some_and(|known| {
                Arc::ptr_eq(&known.user, user) && bool::from(known.digest.ct_eq(&digest))
            })
        {
            return Some(Arc::clone(user));
        }
        let place = Arc::clone(&self.checking).acquire_owned().await.expect("the semaphore is never closed");
        let hash = user.as_ref().map(|user| user.hash.clone());
        let checked = tokio::task::spawn_blocking(move || {
            let _place = place;
            match hash {
                Some(hash) => Argon2::default().verify_password(&password, &hash).is_ok(),
                None => {
                    // As long as for a user there is, so that time does not tell who there is.
                    let _ = Argon2::default().hash_password(&password);
                    false
                }
            }
        });
        match checked.await {
            Ok(true) => {
                let user = user?;
                let right = RightPassword { user: Arc::clone(&user), digest };
                lock(&self.right).insert(Arc::clone(&user.name), right);
                Some(user)
            }
            Ok(false) => None,
            Err(failure) => {
                error!(%failure, "checking a password ended abnormally");
                None
            }
        }
    }

    fn digest(&self, password: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.digest_key).expect("a key of any length will do");
        mac.update(password);
        mac.finalize().into_bytes().into()
    }
}

fn by_name(users: Vec<User>) -> HashMap<Arc<str>, Arc<User>> {
    users.into_iter().map(|user| (Arc::clone(&user.name), Arc::new(user))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::access::Role;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn user(name: &str, password: &str) -> User {
        User::new(name, &hash_password(password.as_bytes()).unwrap(), Arc::new(Role::Reader.policy()))
            .unwrap()
    }

    #[tokio::test]
    async fn only_the_password_lets_in_and_only_once_takes_long() {
        let logins = Logins::new(vec![user("größe", "geheim"), user("b", "x")], Arc::default());
        for (name, password) in [("größe", "Geheim"), ("größe", ""), ("größe", "x"), ("nobody", "x")] {
            let result = logins.check(name, Bytes::from(password), HERE).await;
            assert_eq!(result.map(drop), Err(LoginError::Wrong), "{name} {password}");
        }
        for _ in 0..3 {
            let checked = logins.check("größe", Bytes::from_static("geheim".as_bytes()), HERE).await;
            assert_eq!(&*checked.unwrap().name, "größe");
        }
        let started = Instant::now();
        for _ in 0..1_000 {
            logins.check("größe", Bytes::from_static(b"geheim"), HERE).await.unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(5), "a thousand hashes take minutes");
        assert!(logins.check("größe", Bytes::from_static(b"x"), [192, 0, 2, 1].into()).await.is_err());
    }

    #[tokio::test]
    async fn users_that_are_replaced_have_their_new_passwords_only() {
        let logins = Logins::new(vec![user("a", "old"), user("b", "b")], Arc::default());
        let check =
            async |name, password| logins.check(name, Bytes::from_static(password), HERE).await.is_ok();
        assert!(check("a", b"old").await && check("b", b"b").await);
        logins.replace_users(vec![user("a", "new"), user("c", "c")]);
        assert!(check("a", b"new").await && check("c", b"c").await);
        assert!(!check("a", b"old").await);
        assert!(!check("b", b"b").await);
    }

    #[test]
    fn hashes_of_other_kinds_are_refused() {
        let policy = || Arc::new(Role::Reader.policy());
        let huge = "$argon2id$v=19$m=1048576,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA";
        for wrong in
            ["", "geheim", "$2b$10$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ", huge]
        {
            assert!(User::new("u", wrong, policy()).is_err(), "{wrong}");
        }
        let other = "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA";
        assert!(User::new("u", other, policy()).is_ok());
    }
}
