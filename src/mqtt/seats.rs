//! How many sockets are open, in total and for each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::broker::Shared;
use super::lock;

/// The sockets that are open, by address.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// Why a socket is closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// As many are open as may be.
    #[error("too many connections are open")]
    All,
    /// As many are open from its address as may be.
    #[error("too many connections are open from this address")]
    Address,
}

/// One open socket, counted while it lives.
#[derive(Debug)]
pub(crate) struct Seat {
    broker: Arc<Shared>,
    address: IpAddr,
}

impl Seat {
    /// Counts a socket from `address`.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(crate) fn take(broker: &Arc<Shared>, address: IpAddr) -> Result<Self, Full> {
        let options = &broker.options;
        let mut by_address = lock(&broker.seats.by_address);
        if broker.tally.connections.get() >= options.connections_max as u64 {
            return Err(Full::All);
        }
        let here = by_address.entry(address).or_default();
        if *here >= options.connections_per_address_max {
            return Err(Full::Address);
        }
        *here += 1;
        broker.tally.connections.add_one();
        Ok(Self { broker: Arc::clone(broker), address })
    }
}

impl Seat {
    /// The broker it is counted with.
    pub(crate) fn broker(&self) -> &Shared {
        &self.broker
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_address = lock(&self.broker.seats.by_address);
        self.broker.tally.connections.subtract_one();
        if let Some(here) = by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}
