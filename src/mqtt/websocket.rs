//! MQTT over WebSocket: the messages of one connection as the bytes of one stream.
//!
//! What goes where (MQTT 5 section 6, RFC 6455): the path is `/mqtt`, the subprotocol `mqtt`, and MQTT
//! is in binary messages. Packets and messages need not begin together: a packet may be spread over
//! messages, a message hold several packets, and a message come in several frames. Pings are answered
//! here; a text message ends the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The path clients ask for.
const PATH: &str = "/mqtt";
/// The subprotocol they have to offer.
const PROTOCOL: &str = "mqtt";
/// What is read from the socket at once; every connection holds as much.
const READ_BYTES: usize = 4 * 1024;
/// The largest message sent.
const MESSAGE_BYTES: usize = 32 * 1024;
/// What may wait to be sent: a message, and answers to pings of a client that does not read them.
const WAITING_BYTES_MAX: usize = 2 * MESSAGE_BYTES;

/// Why a request does not become a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unwelcome {
    pub(crate) status: u16,
    pub(crate) reason: String,
}

/// Makes a WebSocket of `stream`; `welcome` looks at the request and may refuse it. Messages may be as
/// large as `message_bytes_max`.
///
/// # Errors
/// When the client asks for something else, is refused, or speaks no HTTP.
pub(crate) async fn accept<S, F>(
    stream: S,
    message_bytes_max: usize,
    welcome: F,
) -> Result<WebSocket<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: FnOnce(&Request) -> Result<(), Unwelcome> + Unpin,
{
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WAITING_BYTES_MAX)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    #[expect(clippy::result_large_err, reason = "the type of the answer is tungstenite's")]
    let greet = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        check(request).and_then(|()| welcome(request)).map_err(refusal)?;
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        Ok(response)
    };
    let stream = tokio_tungstenite::accept_hdr_async_with_config(stream, greet, Some(limits)).await?;
    Ok(WebSocket { stream, unread: Bytes::new(), closed: false })
}

fn check(request: &Request) -> Result<(), Unwelcome> {
    if request.uri().path() != PATH {
        let reason = format!("MQTT is at {PATH}.");
        return Err(Unwelcome { status: StatusCode::NOT_FOUND.as_u16(), reason });
    }
    if !offers_mqtt(request.headers()) {
        let reason = format!("The WebSocket subprotocol has to be {PROTOCOL}.");
        return Err(Unwelcome { status: StatusCode::BAD_REQUEST.as_u16(), reason });
    }
    Ok(())
}

fn offers_mqtt(headers: &HeaderMap) -> bool {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|one| one.trim() == PROTOCOL)
}

fn refusal(unwelcome: Unwelcome) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(unwelcome.reason));
    *response.status_mut() = StatusCode::from_u16(unwelcome.status).unwrap_or(StatusCode::FORBIDDEN);
    response
}

/// A WebSocket as a stream of bytes.
#[derive(Debug)]
pub(crate) struct WebSocket<S> {
    stream: WebSocketStream<S>,
    /// What is left of the last message.
    unread: Bytes,
    closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(Message::Binary(message))) => self.unread = message,
                Some(Ok(Message::Text(_))) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, "a WebSocket text message came");
                    return Poll::Ready(Err(error));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.stream).poll_ready(cx)).map_err(broken)?;
        let count = bytes.len().min(MESSAGE_BYTES);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
        Pin::new(&mut self.stream).start_send(message).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            // A client that has gone cannot be told; the socket below is closed all the same.
            let _ = ready!(Pin::new(&mut self.stream).poll_close(cx));
            self.closed = true;
        }
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}
