//! AWS's published examples, and requests that are not quite like them.

use hyper::header::{HeaderName, HeaderValue};

use super::*;
use crate::access::{Credential, Role};

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const DATE: &str = "20150830T123600Z";
const SCOPE: &str = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";

fn credentials(token: Option<&str>) -> Credentials {
    let mut credentials = Credentials::default();
    assert!(credentials.add(Credential {
        access_key_id: KEY_ID.into(),
        secret_access_key: Secret::new(SECRET),
        session_token: token.map(Secret::new),
        name: "example".into(),
        policy: Arc::new(Role::Admin.policy()),
    }));
    credentials
}

/// A request as a test changes it.
#[derive(Clone)]
struct Request {
    method: &'static str,
    path: &'static str,
    query: String,
    headers: HeaderMap,
    body: &'static [u8],
}

impl Request {
    fn get(path: &'static str, query: &str) -> Self {
        let headers = HeaderMap::new();
        let request = Self { method: "GET", path, query: query.into(), headers, body: b"" };
        request.with("host", "example.amazonaws.com").with("x-amz-date", DATE)
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    fn authorized(self, signed: &str, signature: &str) -> Self {
        let text = format!("{ALGORITHM} Credential={SCOPE}, SignedHeaders={signed}, Signature={signature}");
        self.with("authorization", &text)
    }

    fn head(&self) -> Head<'_> {
        Head { method: self.method, path: self.path, query: &self.query, headers: &self.headers }
    }

    fn verify_at(&self, date: &str, credentials: &Credentials) -> Result<Arc<Credential>, Refused> {
        let now = chrono::NaiveDateTime::parse_from_str(date, DATE_FORMAT).unwrap().and_utc();
        let now = Timestamp::from_millis(now.timestamp_millis());
        let head = self.head();
        Claim::read(&head, &["service", "iotdevicegateway"], credentials, now)?.prove(&head, self.body)
    }

    fn verify(&self) -> Result<Arc<Credential>, Refused> {
        self.verify_at(DATE, &credentials(None))
    }

    fn refusal(&self) -> String {
        let refused = self.verify().expect_err("refused");
        format!("{} {}: {refused}", refused.status(), refused.code())
    }
}

/// The examples AWS publishes for those who write signers.
#[test]
fn published_examples_are_accepted() {
    let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let get = Request::get;
    let cases: Vec<(Request, &str, &str)> = vec![
        (get("/", ""), "host;x-amz-date", vanilla),
        (get("/./", ""), "host;x-amz-date", vanilla),
        (get("//", ""), "host;x-amz-date", vanilla),
        (get("/example/../", ""), "host;x-amz-date", vanilla),
        (
            get("/./example", ""),
            "host;x-amz-date",
            "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
        ),
        (
            get("/example space/", ""),
            "host;x-amz-date",
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        ),
        (
            get("/ሴ", ""),
            "host;x-amz-date",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (
            get("/", "Param2=value2&Param1=value1"),
            "host;x-amz-date",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            get("/", "Param1=value1"),
            "host;x-amz-date",
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        ),
        (
            get("/", "")
                .with("my-header1", "value2")
                .with("My-Header1", "value2")
                .with("My-Header1", "value1"),
            "host;my-header1;x-amz-date",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            get("/", "").with("my-header1", " value1").with("my-header2", " \"a   b   c\""),
            "host;my-header1;my-header2;x-amz-date",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            Request { method: "POST", ..get("/", "") },
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            Request { method: "POST", body: b"Param1=value1", ..get("/", "") }
                .with("content-type", "application/x-www-form-urlencoded"),
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ];
    for (request, signed, signature) in cases {
        let right = request.clone().authorized(signed, signature);
        let caller = right.verify().unwrap_or_else(|refused| panic!("{} {signed}: {refused}", request.path));
        assert_eq!(&*caller.name, "example");
        let wrong = request.clone().authorized(signed, &signature.replace('5', "6"));
        assert!(wrong.refusal().starts_with("403 InvalidSignatureException: The request signature we calc"));
        let other = Request { body: b"another body", ..right };
        assert!(other.refusal().starts_with("403 InvalidSignatureException"));
    }
}

const VANILLA: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

fn vanilla() -> Request {
    Request::get("/", "").authorized("host;x-amz-date", VANILLA)
}

#[test]
fn the_clock_may_be_a_quarter_of_an_hour_off() {
    let at = |date| vanilla().verify_at(date, &credentials(None)).map(drop);
    assert_eq!(at("20150830T125100Z"), Ok(()));
    assert_eq!(at("20150830T122100Z"), Ok(()));
    let old = "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)";
    assert_eq!(at("20150830T125101Z"), Err(Refused::Invalid(old.into())));
    let early = "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 min.)";
    assert_eq!(at("20150830T122059Z"), Err(Refused::Invalid(early.into())));
}

#[test]
fn what_is_not_whole_is_told() {
    let bare = || Request::get("/", "");
    let header = |text: &str| bare().with("authorization", text).refusal();
    let cases = [
        (bare().refusal(), "403 MissingAuthenticationTokenException: Missing Authentication Token"),
        (header("Basic dTpw"), "400 IncompleteSignatureException: Unsupported AWS 'algorithm': 'Basic'."),
        (
            header(&format!("{ALGORITHM} Credential={SCOPE}, SignedHeaders=host")),
            "400 IncompleteSignatureException: Authorization header requires 'Signature' parameter.",
        ),
        (
            vanilla().without("x-amz-date").refusal(),
            "400 IncompleteSignatureException: Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        ),
        (
            header(&format!("{ALGORITHM} Credential=a/b, SignedHeaders=host, Signature=0")),
            "400 IncompleteSignatureException: Credential must have exactly 5 slash-delimited elements",
        ),
        (
            vanilla().without("x-amz-date").with("x-amz-date", "yesterday").refusal(),
            "400 IncompleteSignatureException: Date must be in ISO-8601 'basic format'. Got 'yesterday'",
        ),
    ];
    for (refusal, expected) in cases {
        assert!(refusal.starts_with(expected), "{refusal} is not {expected}");
    }
}

#[test]
fn scope_and_signed_headers_are_checked() {
    let scoped = |scope: &str, signed: &str| {
        let text = format!("{ALGORITHM} Credential={scope}, SignedHeaders={signed}, Signature={VANILLA}");
        Request::get("/", "").with("authorization", &text)
    };
    let all = "host;x-amz-date";
    let cases = [
        (
            scoped("AKIDEXAMPLE/20150830/us-east-1/s3/aws4_request", all),
            "Credential should be scoped to correct service: 'service'.",
        ),
        (
            scoped("AKIDEXAMPLE/20150830/us-east-1/service/aws5", all),
            "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5'.",
        ),
        (
            scoped("AKIDEXAMPLE/20150830//service/aws4_request", all),
            "Credential should be scoped to a valid region.",
        ),
        (
            scoped("AKIDEXAMPLE/20150831/us-east-1/service/aws4_request", all),
            "Date in Credential scope does not match",
        ),
        (
            scoped("ANOTHER/20150830/us-east-1/service/aws4_request", all),
            "The security token included in the request is invalid.",
        ),
        (scoped(SCOPE, "x-amz-date"), "'Host' or ':authority' must be a 'SignedHeader'"),
        (scoped(SCOPE, "host"), "'x-amz-date' must be a 'SignedHeader'"),
        (
            scoped(SCOPE, all).with("x-amz-target", "T.DeleteDatabase"),
            "'x-amz-target' must be a 'SignedHeader'",
        ),
    ];
    for (request, expected) in cases {
        let refusal = request.refusal();
        assert!(refusal.contains(expected), "{refusal} lacks {expected}");
    }
    assert!(scoped(SCOPE, all).with("x-amz-cf-id", "a CDN's").verify().is_ok());
}

#[test]
fn the_hash_of_the_body_has_to_be_its_hash() {
    let hash = hexadecimal(&Sha256::digest(b""));
    assert!(vanilla().with("x-amz-content-sha256", &hash).verify().is_ok());
    for wrong in ["UNSIGNED-PAYLOAD", &hash.replace('e', "f")] {
        let refusal = vanilla().with("x-amz-content-sha256", wrong).refusal();
        assert!(refusal.contains("is not the SHA-256 of the request's body"), "{refusal}");
    }
}

#[test]
fn a_token_is_the_keys_or_refused() {
    let signed = vanilla();
    assert_eq!(signed.verify_at(DATE, &credentials(Some("t"))).map(drop), Err(Refused::Unrecognized));
    let with_token = Request::get("/", "")
        .with("x-amz-security-token", "t")
        .authorized("host;x-amz-date;x-amz-security-token", VANILLA);
    assert_eq!(with_token.verify().map(drop), Err(Refused::Unrecognized));
    assert!(matches!(with_token.verify_at(DATE, &credentials(Some("t"))), Err(Refused::Invalid(_))));
}

/// Signs as AWS's SDKs for devices do.
fn presigned(expires: &str, token: Option<&str>) -> Request {
    let scope = "AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fiotdevicegateway%2Faws4_request";
    let mut query = format!(
        "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={scope}&X-Amz-Date={DATE}{expires}&X-Amz-SignedHeaders=host"
    );
    let mut request = Request { query: query.clone(), ..Request::get("/mqtt", "") }.without("x-amz-date");
    let signed = ["host".to_owned()];
    let canonical = canonical::request(&request.head(), &signed, &[], &hexadecimal(&Sha256::digest(b"")));
    let text = format!(
        "{ALGORITHM}\n{DATE}\n20150830/us-east-1/iotdevicegateway/aws4_request\n{}",
        hexadecimal(&Sha256::digest(&canonical))
    );
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in ["20150830", "us-east-1", "iotdevicegateway", "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    query.push_str(&format!("&X-Amz-Signature={}", hexadecimal(&hmac(&key, text.as_bytes()))));
    if let Some(token) = token {
        query.push_str(&format!("&X-Amz-Security-Token={token}"));
    }
    request.query = query;
    request
}

#[test]
fn presigned_requests_last_as_long_as_they_say() {
    let at = |request: &Request, date: &str| request.verify_at(date, &credentials(None)).map(drop);
    let plain = presigned("", None);
    assert_eq!(at(&plain, DATE), Ok(()));
    assert_eq!(at(&plain, "20150830T124100Z"), Ok(()), "five minutes when nothing is said");
    let old = at(&plain, "20150830T124101Z").unwrap_err().to_string();
    assert!(old.ends_with("(20150830T124101Z - 5 min.)"), "{old}");
    let early = at(&plain, "20150830T123059Z").unwrap_err().to_string();
    assert!(early.ends_with("(20150830T123059Z + 5 min.)"), "{early}");
    let long = presigned("&X-Amz-Expires=90", None);
    assert_eq!(at(&long, "20150830T123730Z"), Ok(()));
    let old = at(&long, "20150830T123731Z").unwrap_err().to_string();
    assert!(old.ends_with("(20150830T123731Z - 90 sec.)"), "{old}");
    for wrong in ["0", "604801", "-1", "soon"] {
        let refusal = presigned(&format!("&X-Amz-Expires={wrong}"), None).refusal();
        assert!(refusal.starts_with("400 IncompleteSignatureException: X-Amz-Expires must be"), "{refusal}");
    }
}

#[test]
fn a_token_may_follow_a_presigned_signature() {
    let request = presigned("", Some("t%2B"));
    assert!(request.verify_at(DATE, &credentials(Some("t+"))).is_ok());
    assert_eq!(request.verify_at(DATE, &credentials(Some("u"))).map(drop), Err(Refused::Unrecognized));
    assert_eq!(request.verify().map(drop), Err(Refused::Unrecognized));
    let mut changed = presigned("", None);
    changed.query = changed.query.replace("us-east-1", "us-east-2");
    assert!(matches!(changed.verify(), Err(Refused::Invalid(_))));
    for name in ["X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders"] {
        let mut lacking = presigned("", None);
        lacking.query = lacking.query.replace(name, "X-Other");
        let expected = format!("AWS query-string parameters must include '{name}'.");
        assert!(lacking.refusal().contains(&expected));
    }
}

/// Whatever comes, the answer is a refusal.
#[test]
fn nonsense_is_refused() {
    let texts = ["", "=", "&&", "%", "%f", "%zz=%", "X-Amz-Algorithm", "X-Amz-Algorithm=%FF&=", "ä=ö", "+"];
    for query in texts {
        for path in ["", "/", "*", "/%", "/..", "ä"] {
            let request = Request { query: query.into(), ..Request::get(path, "") };
            assert!(request.verify().is_err(), "{path}?{query}");
            assert!(request.clone().authorized("", "").verify().is_err());
            assert!(request.authorized(";;host;;x-amz-date", "ä").verify().is_err());
        }
    }
}
