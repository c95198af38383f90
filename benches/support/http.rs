//! Enough HTTP/1.1 for a client that sends what it has prepared and looks at the status.
//!
//! A connection is kept if the server keeps it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One connection at a time.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    /// Whether the server ends the connection.
    ended: bool,
    answer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { address, stream: super::connect(address)?, ended: false, answer: Vec::new() })
    }

    /// Sends `head`, which is everything up to but without the length, and `body`; answers with the
    /// body of a 2xx and fails otherwise.
    pub(crate) fn post(&mut self, head: &str, body: &[u8]) -> io::Result<&[u8]> {
        if self.ended {
            self.stream = super::connect(self.address)?;
        }
        let head = format!("{head}Host: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
        self.answer.clear();
        let mut buffer = [0; 4096];
        loop {
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err(io::Error::other("the server closed the connection"));
            }
            self.answer.extend_from_slice(&buffer[..read]);
            let Some(end) = self.answer.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&self.answer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(Ok(0), |text| text.trim().parse()).map_err(io::Error::other)?;
            if self.answer.len() < end + 4 + length {
                continue;
            }
            self.ended = head.contains("\r\nconnection: close");
            if !head.starts_with("http/1.1 2") {
                return Err(io::Error::other(String::from_utf8_lossy(&self.answer).into_owned()));
            }
            return Ok(&self.answer[end + 4..]);
        }
    }

    /// A call of the Timestream Write API.
    pub(crate) fn timestream(&mut self, operation: &str, body: &[u8]) -> io::Result<&[u8]> {
        self.post(&timestream_head(operation), body)
    }
}

/// What a request to the Timestream Write API starts with.
pub(crate) fn timestream_head(operation: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nContent-Type: application/x-amz-json-1.0\r\n\
         X-Amz-Target: Timestream_20181101.{operation}\r\n"
    )
}

/// The same with the header in which servers for many services look for the service. The signature is none.
pub(crate) fn signed_head(operation: &str) -> String {
    format!(
        "{}Authorization: AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/timestream/aws4_request, \
         SignedHeaders=host, Signature=0\r\n",
        timestream_head(operation)
    )
}
