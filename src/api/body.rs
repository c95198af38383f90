//! Bodies of requests: how large one may be, how much all of them together may take, and how long one
//! may be on its way.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// How long a request waits for room before it is throttled.
const ROOM_WITHIN: Duration = Duration::from_secs(1);

/// Room is counted in pieces of so many bytes.
const PIECE: usize = 1024;

/// How much of a body that is too large is read and forgotten, in bytes.
const FORGOTTEN_MAX: usize = 64 << 20;

/// What bodies may be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// The largest body, packed or not, in bytes.
    pub one: usize,
    /// All bodies that are being read or worked on, in bytes.
    pub all: usize,
    /// How long a client may take to send a body.
    pub within: Duration,
}

/// The room there is for bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    limits: BodyLimits,
    room: Arc<Semaphore>,
}

/// A body as it came. Its room is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    bytes: Bytes,
    packed: bool,
    _room: OwnedSemaphorePermit,
}

impl Received {
    /// The bytes as they came, which is what a signature is over.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Bodies {
    pub(crate) fn new(limits: BodyLimits) -> Self {
        let pieces = limits.all.max(limits.one).div_ceil(PIECE).min(Semaphore::MAX_PERMITS);
        Self { limits, room: Arc::new(Semaphore::new(pieces)) }
    }

    /// Reads a body, packed if it was sent so.
    ///
    /// # Errors
    /// ThrottlingException when there is no room for it; ValidationException when it is too large, comes
    /// too slowly or is packed in a way that is not understood.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Received, ApiError> {
        let BodyLimits { one, within, .. } = self.limits;
        let packed = is_packed(headers)?;
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > one) {
            // Read all the same: a client that cannot send its body to the end does not look at the answer.
            let _ = tokio::time::timeout(within, collect(body, 0, 0)).await;
            return Err(self.too_large());
        }
        // What it unpacks to, and a body of unknown length, may be as large as a body can be.
        let bytes = if packed { one } else { length.unwrap_or(one) };
        let pieces = u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(pieces);
        let room = match tokio::time::timeout(ROOM_WITHIN, room).await {
            Ok(room) => room.expect("the semaphore is never closed"),
            Err(_) => return Err(ApiError::throttling("Too many requests are under way; try again later.")),
        };
        let bytes = match tokio::time::timeout(within, collect(body, one, length.unwrap_or(0))).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => return Err(self.too_large()),
            Ok(Err(error)) => {
                return Err(ApiError::validation(format!("The request body cannot be read: {error}")));
            }
            Err(_) => return Err(ApiError::validation("The request body did not arrive in time.")),
        };
        Ok(Received { bytes, packed, _room: room })
    }

    /// The body as the operation reads it.
    ///
    /// # Errors
    /// ValidationException when it cannot be unpacked or is too large then.
    pub(crate) async fn unpacked(&self, received: &Received) -> Result<Bytes, ApiError> {
        let bytes = received.bytes.clone();
        if !received.packed || bytes.is_empty() {
            return Ok(bytes);
        }
        let most = self.limits.one;
        let unpacked = tokio::task::spawn_blocking(move || unpack(&bytes, most)).await;
        match unpacked {
            Ok(Ok(bytes)) if bytes.len() > most => Err(self.too_large()),
            Ok(Ok(bytes)) => Ok(bytes.into()),
            Ok(Err(error)) => {
                Err(ApiError::validation(format!("The request body cannot be unpacked: {error}")))
            }
            Err(_) => Err(ApiError::internal("The request could not be completed.")),
        }
    }

    fn too_large(&self) -> ApiError {
        ApiError::validation(format!("The request body is larger than {} bytes.", self.limits.one))
    }
}

/// The bytes of a body; nothing when it has more than `most`, of which some are read and forgotten.
async fn collect(body: Body, most: usize, expected: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut stream = body.into_data_stream();
    let (mut whole, mut length) = (BytesMut::with_capacity(expected), 0_usize);
    while let Some(chunk) = stream.next().await.transpose()? {
        length += chunk.len();
        if length <= most {
            whole.extend_from_slice(&chunk);
        } else if length > most + FORGOTTEN_MAX {
            return Ok(None);
        }
    }
    Ok((length <= most).then(|| whole.freeze()))
}

/// Unpacks at most one byte more than `most`.
fn unpack(bytes: &[u8], most: usize) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes).take(most as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

fn is_packed(headers: &HeaderMap) -> Result<bool, ApiError> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes());
    match encoding.map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"identity" | b"") => Ok(false),
        Some(b"gzip" | b"x-gzip") => Ok(true),
        Some(_) => Err(ApiError::validation("The only Content-Encoding a request may have is gzip.")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn bodies() -> Bodies {
        Bodies::new(BodyLimits { one: 4096, all: 8192, within: Duration::from_millis(100) })
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("packed")
    }

    fn headers(encoding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, header::HeaderValue::from_static(encoding))])
    }

    async fn read(encoding: &'static str, body: Vec<u8>) -> Result<Bytes, ApiError> {
        let bodies = bodies();
        let received = bodies.read(&headers(encoding), Body::from(body)).await?;
        bodies.unpacked(&received).await
    }

    #[tokio::test]
    async fn packed_bodies_are_unpacked_up_to_the_limit() {
        assert_eq!(read("gzip", gzip(b"{}")).await.expect("a body"), "{}");
        assert_eq!(read("identity", b"{}".to_vec()).await.expect("a body"), "{}");
        assert_eq!(read("gzip", gzip(&[b' '; 4096])).await.expect("a body").len(), 4096);
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 4096);
        for (encoding, body) in [("gzip", bomb), ("gzip", b"{}".to_vec()), ("br", gzip(b"{}"))] {
            let error = read(encoding, body).await.expect_err("refused");
            assert_eq!(error.code(), "ValidationException", "{encoding}");
        }
        assert!(read("identity", vec![b' '; 4097]).await.is_err());
    }

    #[tokio::test]
    async fn requests_beyond_the_room_are_throttled() {
        let bodies = bodies();
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(bodies.read(&HeaderMap::new(), Body::from("{}")).await.expect("room"));
        }
        let error = bodies.read(&HeaderMap::new(), Body::from("{}")).await.expect_err("no room");
        assert_eq!(error.code(), "ThrottlingException");
        held.pop();
        bodies.read(&HeaderMap::new(), Body::from("{}")).await.expect("room again");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_not_waited_for() {
        let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let error = bodies().read(&HeaderMap::new(), endless).await.expect_err("given up");
        assert_eq!(error.body()["message"], "The request body did not arrive in time.");
    }
}
