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
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// How long a request waits for room before it is throttled.
const ROOM_WITHIN: Duration = Duration::from_secs(1);

/// Room is counted in pieces of so many bytes.
const PIECE: usize = 1024;

/// How much is set aside for a body before any of it is there, in bytes.
const AT_ONCE: usize = 64 << 10;

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
    /// What it unpacks to, once that was asked for.
    unpacked: OnceCell<(Bytes, Room)>,
    _room: Room,
}

impl Received {
    /// The bytes as they came, which is what a signature is over.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// What a body takes of the room there is.
type Room = Option<OwnedSemaphorePermit>;

impl Bodies {
    pub(crate) fn new(limits: BodyLimits) -> Self {
        let pieces = limits.all.max(limits.one).div_ceil(PIECE).min(Semaphore::MAX_PERMITS);
        Self { limits, room: Arc::new(Semaphore::new(pieces)) }
    }

    /// Reads a body, packed if it was sent so. It takes room as it comes: who announces much and sends
    /// nothing takes none.
    ///
    /// # Errors
    /// ThrottlingException when there is no room for it; ValidationException when it is too large, comes
    /// too slowly or is packed in a way that is not understood.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Received, ApiError> {
        let packed = is_packed(headers)?;
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut room = None;
        let collected = self.collect(body, announced.unwrap_or(0), &mut room);
        match tokio::time::timeout(self.limits.within, collected).await {
            Ok(bytes) => Ok(Received { bytes: bytes?, packed, unpacked: OnceCell::new(), _room: room }),
            Err(_) => Err(ApiError::validation("The request body did not arrive in time.")),
        }
    }

    /// The bytes of a body. One that is too large is read to its end all the same, within reason: a client
    /// that cannot send its body does not look at the answer.
    async fn collect(&self, body: Body, announced: usize, room: &mut Room) -> Result<Bytes, ApiError> {
        let most = if announced > self.limits.one { 0 } else { self.limits.one };
        let mut stream = body.into_data_stream();
        let (mut whole, mut length) = (BytesMut::with_capacity(announced.min(AT_ONCE)), 0_usize);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk
                .map_err(|error| ApiError::validation(format!("The request body cannot be read: {error}")))?;
            length += chunk.len();
            if length <= most {
                self.take(room, length).await?;
                whole.extend_from_slice(&chunk);
                continue;
            }
            (whole, *room) = (BytesMut::new(), None);
            if length > most + FORGOTTEN_MAX {
                break;
            }
        }
        if length > most { Err(self.too_large()) } else { Ok(whole.freeze()) }
    }

    /// Makes `room` enough for so many bytes.
    async fn take(&self, room: &mut Room, bytes: usize) -> Result<(), ApiError> {
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(bytes.div_ceil(PIECE).saturating_sub(held)).unwrap_or(u32::MAX);
        if missing == 0 {
            return Ok(());
        }
        let more = Arc::clone(&self.room).acquire_many_owned(missing);
        let more = match tokio::time::timeout(ROOM_WITHIN, more).await {
            Ok(more) => more.expect("the semaphore is never closed"),
            Err(_) => return Err(ApiError::throttling("Too many requests are under way; try again later.")),
        };
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        Ok(())
    }

    /// The body as the operation reads it.
    ///
    /// # Errors
    /// ThrottlingException when there is no room to unpack it; ValidationException when it cannot be
    /// unpacked or is too large then.
    pub(crate) async fn unpacked(&self, received: &Received) -> Result<Bytes, ApiError> {
        if !received.packed || received.bytes.is_empty() {
            return Ok(received.bytes.clone());
        }
        let unpacked = received.unpacked.get_or_try_init(|| self.unpack(received.bytes.clone())).await?;
        Ok(unpacked.0.clone())
    }

    async fn unpack(&self, bytes: Bytes) -> Result<(Bytes, Room), ApiError> {
        let (most, mut room) = (self.limits.one, None);
        self.take(&mut room, most).await?;
        let inflated = tokio::task::spawn_blocking(move || inflate(&bytes, most)).await;
        match inflated {
            Ok(Ok(bytes)) if bytes.len() > most => Err(self.too_large()),
            Ok(Ok(bytes)) => Ok((bytes.into(), room)),
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

/// Unpacks at most one byte more than `most`.
fn inflate(bytes: &[u8], most: usize) -> std::io::Result<Vec<u8>> {
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
        Bodies::new(BodyLimits { one: 4096, all: 8192, within: Duration::from_secs(2) })
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
        let full = || Body::from(vec![b' '; 4096]);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(bodies.read(&HeaderMap::new(), full()).await.expect("room"));
        }
        let error = bodies.read(&HeaderMap::new(), Body::from("{}")).await.expect_err("no room");
        assert_eq!(error.code(), "ThrottlingException");
        held.pop();
        bodies.read(&HeaderMap::new(), full()).await.expect("room again");
        // Too large for the room, and refused for that.
        let error = bodies.read(&HeaderMap::new(), Body::from(vec![b' '; 9000])).await.expect_err("refused");
        assert_eq!(error.code(), "ValidationException");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_not_waited_for() {
        let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let error = bodies().read(&HeaderMap::new(), endless).await.expect_err("given up");
        assert_eq!(error.body()["message"], "The request body did not arrive in time.");
    }
}
