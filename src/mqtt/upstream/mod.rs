//! Another broker as a source: its messages go to the rules as if they had been published here.
//!
//! - A message is acknowledged to the other broker once every row it made is durable here, in the order the
//!   messages came. What is not acknowledged when a connection or the daemon ends comes again.
//! - The session over there outlives connections: the client id stays the same, so what is published while
//!   this daemon is away waits for it.
//! - With a share group several daemons take turns ($share/group/filter): each message goes to one of them.
//! - A lost connection is made again, after one second, then two, four, up to a minute.
//! - Messages go to rules only, never to subscribers of the embedded broker; copies of retained messages are
//!   not asked for, for rules have seen them when they were published.
//!
//! ```text
//! options    where, as whom, what
//! link       one connection over rumqttc, the same for both versions of the protocol (link/v4, link/v5)
//! transfer   three loops over one link: what comes, what is handed to the rules, what is acknowledged
//! transport  TCP or TLS
//! state      what /metrics and /health show
//! ```

mod link;
mod options;
mod state;
mod transfer;
mod transport;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::ingest::Ingest;
use crate::clock::{Clock, ProcessingTime};
use crate::shutdown::Shutdown;
use link::Link;
pub use options::{ProtocolVersion, UpstreamOptions, UpstreamTls};
use state::State;
pub use state::{UpstreamCounters, UpstreamReport};
use transfer::Transfer;

/// How long to wait before the first attempt to connect again; it doubles with each that fails.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A connection that has lasted this long was a good one: the pauses start anew.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// A broker whose messages go to the rules; clones are the same upstream.
#[derive(Debug, Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: UpstreamOptions,
    ingest: Arc<dyn Ingest>,
    clock: Arc<dyn Clock>,
    times: Arc<ProcessingTime>,
    state: State,
}

impl Upstream {
    /// An upstream that hands its messages to `ingest`, as soon as it is run.
    pub fn new(
        options: UpstreamOptions,
        ingest: Arc<dyn Ingest>,
        clock: Arc<dyn Clock>,
        times: Arc<ProcessingTime>,
    ) -> Self {
        let state = State::default();
        Self { shared: Arc::new(Shared { options, ingest, clock, times, state }) }
    }

    /// Connects, consumes and connects again until `stop` is requested. What has been handed to the rules by
    /// then is acknowledged first.
    pub async fn run(&self, stop: Shutdown) {
        let mut pause = PAUSE_MIN;
        while !stop.is_requested() {
            let began = Instant::now();
            let Some(reason) = self.connection(&stop).await else { return };
            if began.elapsed() >= GOOD_AFTER {
                pause = PAUSE_MIN;
            }
            let upstream = &self.shared.options.name;
            warn!(upstream, reason, again_in_s = pause.as_secs(), "no connection to the upstream broker");
            self.shared.state.disconnected(reason);
            tokio::select! {
                () = stop.requested() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }

    /// One connection from its start to its end; the reason when it was not our own wish.
    async fn connection(&self, stop: &Shutdown) -> Option<String> {
        let link = match Link::new(&self.shared.options) {
            Ok(link) => link,
            Err(reason) => return Some(reason),
        };
        let ended = Transfer::new(&self.shared, link).run(stop).await;
        if ended.is_none() {
            info!(upstream = self.shared.options.name, "left the upstream broker");
        }
        ended
    }

    /// What it is called, how it is and what it has done.
    pub fn report(&self) -> UpstreamReport {
        self.shared.state.report(&self.shared.options.name, self.shared.clock.now())
    }
}
