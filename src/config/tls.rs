//! `tls = { … }` of a listener: its certificate, its key, and whose certificates clients may show.

use std::path::PathBuf;

use serde::Deserialize;

use super::check::Scope;
use crate::tls::{ClientAuthorities, TlsFiles};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_certificate: Option<String>,
}

impl Written {
    /// Whether the files can be used is found out when they are opened.
    pub(super) fn check(self, scope: &Scope) -> Result<TlsFiles, String> {
        let required = match self.client_certificate.as_deref() {
            None | Some("required") => true,
            Some("optional") => false,
            Some(other) => {
                return Err(format!(
                    "client_certificate: `{other}` is neither \"required\" nor \"optional\""
                ));
            }
        };
        if self.client_certificate.is_some() && self.client_ca.is_none() {
            return Err("client_certificate needs client_ca, which says whose certificates count".into());
        }
        let path = |path: &PathBuf| scope.path(path);
        let clients = match &self.client_ca {
            Some(authorities) => Some(ClientAuthorities { path: path(authorities)?, required }),
            None => None,
        };
        Ok(TlsFiles { certificate: path(&self.certificate)?, key: path(&self.key)?, clients })
    }
}
