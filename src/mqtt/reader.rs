//! Reads a socket into one buffer that is small while the client is quiet and large while it is not.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Thousands of idle connections hold one of these each.
const IDLE_BYTES: usize = 512;

/// Enough for hundreds of small publishes in one system call.
const BUSY_BYTES: usize = 64 * 1024;

/// What a client may still say after it was sent away.
const DISCARD_BYTES_MAX: usize = 1024 * 1024;

/// The reading half of a socket and what has been read and not been decoded.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    stream: R,
    /// Decoding takes packets off its front.
    pub(crate) buffer: BytesMut,
    /// How much to ask for next: doubles while reads come back full, halves while they are small.
    ask: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// A reader that has read nothing.
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new(), ask: IDLE_BYTES }
    }

    /// Reads once. Returns zero at the end of the stream.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        if self.buffer.is_empty() && self.buffer.capacity() > 4 * self.ask {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(self.ask);
        let room = self.buffer.capacity() - self.buffer.len();
        let count = self.stream.read_buf(&mut self.buffer).await?;
        if count >= room {
            self.ask = (self.ask * 2).min(BUSY_BYTES);
        } else if count < self.ask / 4 {
            self.ask = (self.ask / 2).max(IDLE_BYTES);
        }
        Ok(count)
    }

    /// Reads what still comes and forgets it, so that a client that goes on talking gets to read why it was sent
    /// away: a socket closed on unread bytes takes what was written with it.
    pub(crate) async fn discard(mut self) {
        let mut left = DISCARD_BYTES_MAX;
        self.buffer = BytesMut::new();
        while let Ok(count @ 1..) = self.fill().await
            && left > count
        {
            left -= count;
            self.buffer.clear();
        }
    }

    /// Whether the last read left the impression that more is waiting.
    pub(crate) fn is_busy(&self) -> bool {
        self.ask == BUSY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn the_buffer_grows_with_the_traffic_and_shrinks_after_it() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut reader = Reader::new(server);
        client.write_all(&vec![7; 500_000]).await.unwrap();
        let mut read = 0;
        let mut reads = 0;
        while read < 500_000 {
            read += reader.fill().await.unwrap();
            reader.buffer.clear();
            reads += 1;
        }
        assert!(reads < 20, "{reads} reads");
        assert!(reader.is_busy());
        for _ in 0..10 {
            client.write_all(b"ping").await.unwrap();
            assert_eq!(reader.fill().await.unwrap(), 4);
            reader.buffer.clear();
        }
        assert!(reader.buffer.capacity() <= 4 * IDLE_BYTES, "{}", reader.buffer.capacity());
    }
}
