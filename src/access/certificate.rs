//! What a client's certificate says of it.

use sha2::{Digest, Sha256};
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_DN_QUALIFIER, OID_X509_LOCALITY_NAME,
    OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, OID_X509_SERIALNUMBER,
    OID_X509_STATE_OR_PROVINCE_NAME, Oid,
};
use x509_parser::x509::X509Name;

use super::hexadecimal;

/// A client certificate. Whether to believe it is for TLS to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of the certificate in lower-case hexadecimal, as AWS IoT names certificates.
    pub id: String,
    /// Its attributes by the names they have in policies, such as `Subject.CommonName`.
    attributes: Vec<(String, String)>,
}

impl Certificate {
    /// Reads a certificate in DER.
    pub fn read(der: &[u8]) -> Self {
        let id = hexadecimal(&Sha256::digest(der));
        let mut attributes = Vec::new();
        // TLS has parsed and verified it; what this parser cannot read is absent in policies.
        if let Ok((_, parsed)) = x509_parser::parse_x509_certificate(der) {
            attributes.push(("SerialNumber".to_owned(), hexadecimal(parsed.raw_serial())));
            for (owner, name) in [("Subject", parsed.subject()), ("Issuer", parsed.issuer())] {
                let named = named(name).map(|(attribute, value)| (format!("{owner}.{attribute}"), value));
                attributes.extend(named);
            }
        }
        Self { id, attributes }
    }

    /// The attribute a policy calls `iot:Certificate.` and `name`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Whom the certificate was issued to.
    pub fn common_name(&self) -> Option<&str> {
        self.attribute("Subject.CommonName")
    }
}

/// The attributes of a name that AWS IoT's policies know; the first of several of a kind.
fn named(name: &X509Name<'_>) -> impl Iterator<Item = (&'static str, String)> {
    let attributes: [(&'static str, Oid<'static>); 8] = [
        ("CommonName", OID_X509_COMMON_NAME),
        ("Country", OID_X509_COUNTRY_NAME),
        ("DistinguishedNameQualifier", OID_X509_DN_QUALIFIER),
        ("Locality", OID_X509_LOCALITY_NAME),
        ("Organization", OID_X509_ORGANIZATION_NAME),
        ("OrganizationalUnit", OID_X509_ORGANIZATIONAL_UNIT),
        ("SerialNumber", OID_X509_SERIALNUMBER),
        ("State", OID_X509_STATE_OR_PROVINCE_NAME),
    ];
    attributes.into_iter().filter_map(|(attribute, oid)| {
        let found = name.iter_by_oid(&oid).next()?.as_str().ok()?;
        Some((attribute, found.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_known_by_its_hash_and_its_names() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "größe-1");
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Mill");
        parameters.serial_number = Some(rcgen::SerialNumber::from_slice(&[1, 0xAB]));
        let der = parameters.self_signed(&key).unwrap().der().to_vec();
        let certificate = Certificate::read(&der);
        assert_eq!(certificate.id, hexadecimal(&Sha256::digest(&der)));
        assert_eq!(certificate.common_name(), Some("größe-1"));
        assert_eq!(certificate.attribute("Issuer.Organization"), Some("Mill"));
        assert_eq!(certificate.attribute("SerialNumber"), Some("01ab"));
        assert_eq!(certificate.attribute("Subject.Country"), None);
        assert_eq!(Certificate::read(b"no certificate").common_name(), None);
    }
}
