//! The sessions of all clients, by client id: whose connection is here, and what is kept for those
//! whose client is away.
//!
//! A session is handed from one connection to the next as a whole: the earlier connection is told to
//! end and puts it down here when the last publish it has taken is durable; then the new one picks it
//! up. So no two connections ever change one session.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::mailbox::{Mailbox, Told};
use super::packet::Will;
use super::session::Kept;
use super::subscriptions::SessionNumber;
use crate::clock::Timestamp;

/// A session whose client is away.
#[derive(Debug)]
pub(crate) struct Absent {
    pub(crate) kept: Kept,
    /// When it ends.
    pub(crate) until: Timestamp,
    /// What to publish, and when, unless the client comes back before.
    pub(crate) will: Option<(Will, Timestamp)>,
}

#[derive(Debug)]
enum Whereabouts {
    /// Its connection is here, and will put it down if it is `lasting`.
    Here {
        lasting: bool,
        put_down: CancellationToken,
    },
    Away(Box<Absent>),
}

#[derive(Debug)]
struct Client {
    number: SessionNumber,
    mailbox: Arc<Mailbox>,
    whereabouts: Whereabouts,
}

/// A session that has ended, for its subscriptions and its will.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) number: SessionNumber,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) absent: Absent,
}

/// What a new connection finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// The session it goes on with.
    Session(SessionNumber, Arc<Mailbox>, Box<Kept>),
    /// No session to go on with; a new one is entered. One that was kept has ended with that.
    Nothing(Option<Box<Ended>>),
    /// The session it wants has a connection, which has been told to end. Ask again once it has been put down.
    Occupied(CancellationToken),
}

/// The sessions by client id.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    by_id: HashMap<Arc<str>, Client>,
    absent: usize,
}

impl Clients {
    /// How many sessions have no connection.
    pub(crate) fn absent(&self) -> usize {
        self.absent
    }

    /// Lets a connection in. It goes on with an earlier session only if `resume`; otherwise it has the
    /// session `number` and `mailbox`, which are new. `lasting` when its session is to outlive it.
    pub(crate) fn enter(
        &mut self,
        number: SessionNumber,
        mailbox: &Arc<Mailbox>,
        resume: bool,
        lasting: bool,
    ) -> Found {
        let here = || Whereabouts::Here { lasting, put_down: CancellationToken::new() };
        let new = || Client { number, mailbox: Arc::clone(mailbox), whereabouts: here() };
        let mut entry = match self.by_id.entry(Arc::clone(&mailbox.client_id)) {
            Entry::Vacant(free) => {
                free.insert(new());
                return Found::Nothing(None);
            }
            Entry::Occupied(entry) => entry,
        };
        if let Whereabouts::Here { lasting, put_down } = &entry.get().whereabouts {
            entry.get().mailbox.tell(Told::TakenOver);
            if resume && *lasting {
                return Found::Occupied(put_down.clone());
            }
            entry.insert(new());
            return Found::Nothing(None);
        }
        self.absent -= 1;
        if resume {
            let client = entry.get_mut();
            let (number, mailbox) = (client.number, Arc::clone(&client.mailbox));
            return match std::mem::replace(&mut client.whereabouts, here()) {
                Whereabouts::Away(absent) => Found::Session(number, mailbox, Box::new(absent.kept)),
                Whereabouts::Here { .. } => unreachable!("looked at under the same borrow"),
            };
        }
        Found::Nothing(ended(entry.insert(new())).map(Box::new))
    }

    /// A connection has ended and its session goes on. Nothing comes back unless the session has been
    /// replaced meanwhile, which has ended it.
    pub(crate) fn put_down(
        &mut self,
        number: SessionNumber,
        client_id: &str,
        absent: Absent,
    ) -> Option<Absent> {
        let Some(client) = self.by_id.get_mut(client_id).filter(|client| client.number == number) else {
            return Some(absent);
        };
        client.mailbox.leave();
        let before = std::mem::replace(&mut client.whereabouts, Whereabouts::Away(Box::new(absent)));
        self.absent += 1;
        if let Whereabouts::Here { put_down, .. } = before {
            put_down.cancel();
        }
        None
    }

    /// A connection has ended, and its session with it.
    pub(crate) fn remove(&mut self, number: SessionNumber, client_id: &str) {
        if self.by_id.get(client_id).is_none_or(|client| client.number != number) {
            return;
        }
        let client = self.by_id.remove(client_id);
        if let Some(Whereabouts::Here { put_down, .. }) = client.map(|client| client.whereabouts) {
            put_down.cancel();
        }
    }

    /// Ends the absent sessions whose time is over at `now`, and of the others those that would end
    /// first while there are more than `most`.
    pub(crate) fn expire(&mut self, now: Timestamp, most: usize) -> Vec<Ended> {
        let mut over: Vec<(Timestamp, Arc<str>)> = Vec::new();
        let mut later: Vec<(Timestamp, Arc<str>)> = Vec::new();
        for (client_id, client) in &self.by_id {
            if let Whereabouts::Away(absent) = &client.whereabouts {
                if absent.until <= now { &mut over } else { &mut later }
                    .push((absent.until, Arc::clone(client_id)));
            }
        }
        let excess = later.len().saturating_sub(most);
        if excess > 0 {
            later.sort_unstable();
            over.extend(later.drain(..excess));
        }
        let removed: Vec<Ended> =
            over.iter().filter_map(|(_, id)| self.by_id.remove(id)).filter_map(ended).collect();
        self.absent -= removed.len();
        removed
    }

    /// The wills of absent clients that are due at `now`, each with its client.
    pub(crate) fn due_wills(&mut self, now: Timestamp) -> Vec<(Arc<str>, Will)> {
        let due = |client: &mut Client| match &mut client.whereabouts {
            Whereabouts::Away(absent) => absent.will.take_if(|(_, due)| *due <= now).map(|(will, _)| will),
            Whereabouts::Here { .. } => None,
        };
        self.by_id.iter_mut().filter_map(|(id, client)| Some((Arc::clone(id), due(client)?))).collect()
    }
}

fn ended(client: Client) -> Option<Ended> {
    let Client { number, mailbox, whereabouts } = client;
    match whereabouts {
        Whereabouts::Away(absent) => Some(Ended { number, mailbox, absent: *absent }),
        Whereabouts::Here { .. } => None,
    }
}
