//! `tidemill cert`: certificates for development, from an authority of one's own.
//!
//! Nothing here is for the open internet: the authority's key lies beside the certificates, and whoever
//! has it can make more of them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use crate::clock::{Clock, SystemClock};

/// How long a certificate is valid: what browsers accept at most.
const VALID_DAYS: i64 = 825;
/// Readable by everyone, and by its owner only.
const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// What to make.
#[derive(Debug, Args)]
pub(super) struct CertArguments {
    /// The folder for the files
    #[arg(long, value_name = "FOLDER", default_value = "certs")]
    out: PathBuf,
    /// A host name or address of the server; may be given several times
    #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
    names: Vec<String>,
    /// Make a client certificate with this common name instead, signed by the authority in the folder
    #[arg(long, value_name = "NAME", conflicts_with = "names")]
    client: Option<String>,
}

/// Makes an authority and a server's certificate, or a client's.
///
/// # Errors
/// When a file is there already, which is never overwritten, or cannot be written.
#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) fn make(arguments: &CertArguments) -> anyhow::Result<()> {
    let folder = &arguments.out;
    let files = match &arguments.client {
        None => server(folder, &arguments.names)?,
        Some(name) => client(folder, name)?,
    };
    if let Some((path, ..)) = files.iter().find(|(path, ..)| path.exists()) {
        bail!("{} is there already; remove it or name another folder with --out", path.display());
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (path, text, mode) in &files {
        write(path, text, *mode).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// A file to write: where, what, and who may read it.
type File = (PathBuf, String, u32);

fn server(folder: &Path, names: &[String]) -> anyhow::Result<Vec<File>> {
    let authority = authority()?;
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let authority_key_pem = authority_key.serialize_pem();
    let mut parameters = leaf(&names[0], ExtendedKeyUsagePurpose::ServerAuth)?;
    parameters.subject_alt_names = CertificateParams::new(names)
        .context("a name is neither a host name nor an address")?
        .subject_alt_names;
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &Issuer::new(authority, authority_key))?;
    Ok(vec![
        (folder.join("ca.pem"), authority_pem, PUBLIC),
        (folder.join("ca-key.pem"), authority_key_pem, PRIVATE),
        (folder.join("server.pem"), certificate.pem(), PUBLIC),
        (folder.join("server-key.pem"), key.serialize_pem(), PRIVATE),
    ])
}

fn client(folder: &Path, name: &str) -> anyhow::Result<Vec<File>> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        bail!("`{name}` is not a name of letters, digits, `-`, `_` and `.`, which file names are made of");
    }
    let path = folder.join("ca-key.pem");
    let pem = fs::read_to_string(&path).with_context(|| {
        format!("cannot read {}, which `tidemill cert` without --client makes", path.display())
    })?;
    let authority_key =
        KeyPair::from_pem(&pem).with_context(|| format!("{} is not a private key", path.display()))?;
    let key = KeyPair::generate()?;
    let parameters = leaf(name, ExtendedKeyUsagePurpose::ClientAuth)?;
    let certificate = parameters.signed_by(&key, &Issuer::new(authority()?, authority_key))?;
    Ok(vec![
        (folder.join(format!("{name}.pem")), certificate.pem(), PUBLIC),
        (folder.join(format!("{name}-key.pem")), key.serialize_pem(), PRIVATE),
    ])
}

/// The authority, apart from its key. The same every time, so that its key is enough to go on with it.
fn authority() -> anyhow::Result<CertificateParams> {
    let mut parameters = named("Tidemill development authority")?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

fn leaf(name: &str, usage: ExtendedKeyUsagePurpose) -> anyhow::Result<CertificateParams> {
    let mut parameters = named(name)?;
    parameters.use_authority_key_identifier_extension = true;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![usage];
    Ok(parameters)
}

fn named(name: &str) -> anyhow::Result<CertificateParams> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    let today = DateTime::from_timestamp_nanos(SystemClock.now().nanos());
    // A client whose clock is behind must not find it not yet valid.
    let (first, last) = (today - TimeDelta::days(1), today + TimeDelta::days(VALID_DAYS));
    let day = |day: DateTime<Utc>| -> anyhow::Result<_> {
        Ok(rcgen::date_time_ymd(day.year(), u8::try_from(day.month())?, u8::try_from(day.day())?))
    };
    parameters.not_before = day(first)?;
    parameters.not_after = day(last)?;
    Ok(parameters)
}

fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
