//! The sessions of all clients, by client id: whose connection is here, and what is kept for those
//! whose client is away.
//!
//! A session is handed from one connection to the next as a whole: the earlier connection is told to
//! end and puts it down here when the last publish it has taken is durable; then the new one picks it
//! up. So no two connections ever change one session. Of several that wait for it the newest gets it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::kept::Kept;
use super::mailbox::{Load, Mailbox, Told};
use super::packet::{Version, Will};
use super::subscriptions::SessionNumber;
use crate::clock::Timestamp;

/// A session whose client is away.
#[derive(Debug)]
pub(crate) struct Absent {
    pub(crate) kept: Kept,
    /// When it ends.
    pub(crate) until: Timestamp,
    /// What to publish, and when, unless the client comes back before.
    pub(crate) will: Option<(Arc<Will>, Timestamp)>,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) version: Version,
    pub(crate) since: Timestamp,
}

/// A session as an operator sees it.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) client_id: Arc<str>,
    /// Whether the session outlives its connection.
    pub(crate) lasting: bool,
    /// Its connection, or when the session ends without one.
    pub(crate) state: Result<Peer, Timestamp>,
    pub(crate) load: Load,
}

/// What a new connection wants.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// To go on with an earlier session.
    pub(crate) resume: bool,
    /// A session that outlives the connection.
    pub(crate) lasting: bool,
    pub(crate) peer: Peer,
}

#[derive(Debug)]
enum Whereabouts {
    /// Its connection is here, and will put it down if it is `lasting`.
    Here {
        lasting: bool,
        /// Cancelled when whoever waits for the session should ask again.
        put_down: CancellationToken,
        peer: Peer,
    },
    Away(Box<Absent>),
}

#[derive(Debug)]
struct Client {
    number: SessionNumber,
    /// The number the newest connection with this client id has brought along for a new session.
    newest: SessionNumber,
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
    Session(Arc<Mailbox>, Box<Kept>),
    /// No session to go on with; a new one is entered. One that was kept has ended with that.
    Nothing(Option<Box<Ended>>),
    /// The session it wants has a connection, which has been told to end. Ask again when the token says so.
    Occupied(CancellationToken),
    /// A later connection has come with the client id while this one waited.
    Overtaken,
}

/// The sessions by client id.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    by_id: BTreeMap<Arc<str>, Client>,
    absent: usize,
}

impl Clients {
    /// How many sessions have no connection.
    pub(crate) fn absent(&self) -> usize {
        self.absent
    }

    /// Lets a connection in. It goes on with an earlier session only if it wants to; otherwise it has that
    /// of `mailbox`, which is new.
    pub(crate) fn enter(&mut self, mailbox: &Arc<Mailbox>, arrival: &Arrival) -> Found {
        let Arrival { resume, lasting, peer } = *arrival;
        let number = mailbox.number;
        let here = || Whereabouts::Here { lasting, put_down: CancellationToken::new(), peer };
        let new = || Client { number, newest: number, mailbox: Arc::clone(mailbox), whereabouts: here() };
        let mut entry = match self.by_id.entry(Arc::clone(&mailbox.client_id)) {
            Entry::Vacant(free) => {
                free.insert(new());
                return Found::Nothing(None);
            }
            Entry::Occupied(entry) => entry,
        };
        let client = entry.get_mut();
        if number < client.newest {
            return Found::Overtaken;
        }
        client.newest = number;
        if let Whereabouts::Here { lasting, put_down, .. } = &mut client.whereabouts {
            client.mailbox.tell(Told::TakenOver);
            // Whoever has waited so far learns that it waits in vain.
            std::mem::take(put_down).cancel();
            if resume && *lasting {
                return Found::Occupied(put_down.clone());
            }
            entry.insert(new());
            return Found::Nothing(None);
        }
        self.absent -= 1;
        if resume {
            let mailbox = Arc::clone(&client.mailbox);
            return match std::mem::replace(&mut client.whereabouts, here()) {
                Whereabouts::Away(absent) => Found::Session(mailbox, Box::new(absent.kept)),
                Whereabouts::Here { .. } => unreachable!("looked at under the same borrow"),
            };
        }
        Found::Nothing(ended(entry.insert(new())).map(Box::new))
    }

    /// Puts in a session that an earlier run of the broker left.
    pub(crate) fn restore(&mut self, mailbox: Arc<Mailbox>, absent: Absent) {
        let (number, client_id) = (mailbox.number, Arc::clone(&mailbox.client_id));
        let whereabouts = Whereabouts::Away(Box::new(absent));
        self.by_id.insert(client_id, Client { number, newest: number, mailbox, whereabouts });
        self.absent += 1;
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

    /// The wills of absent clients that are due at `now`, each with its session and the session's end.
    pub(crate) fn due_wills(&mut self, now: Timestamp) -> Vec<Due> {
        let due = |client: &mut Client| {
            let Whereabouts::Away(absent) = &mut client.whereabouts else { return None };
            let (will, _) = absent.will.take_if(|(_, due)| *due <= now)?;
            Some(Due { number: client.number, until: absent.until, will })
        };
        self.by_id.values_mut().filter_map(due).collect()
    }

    /// At most `count` sessions by client id, those behind `after`.
    pub(crate) fn after(&self, after: Option<&str>, count: usize) -> Vec<Sight> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.by_id.range::<str, _>((start, Bound::Unbounded));
        range.take(count).map(|(_, client)| client.sight()).collect()
    }

    /// Ends the session of a client: its connection is told to, or it ends at once and comes back.
    pub(crate) fn end(&mut self, client_id: &str) -> Removed {
        let Some(client) = self.by_id.get(client_id) else { return Removed::Unknown };
        if let Whereabouts::Here { .. } = &client.whereabouts {
            client.mailbox.tell(Told::Removed);
            return Removed::Told;
        }
        self.absent -= 1;
        let ended = self.by_id.remove(client_id).and_then(ended);
        ended.map_or(Removed::Unknown, |ended| Removed::Ended(Box::new(ended)))
    }
}

impl Client {
    fn sight(&self) -> Sight {
        let (lasting, state) = match &self.whereabouts {
            Whereabouts::Here { lasting, peer, .. } => (*lasting, Ok(*peer)),
            Whereabouts::Away(absent) => (true, Err(absent.until)),
        };
        Sight { client_id: Arc::clone(&self.mailbox.client_id), lasting, state, load: self.mailbox.load() }
    }
}

/// A will whose time has come, of a session that goes on.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) number: SessionNumber,
    pub(crate) until: Timestamp,
    pub(crate) will: Arc<Will>,
}

/// What ending a session has led to.
#[derive(Debug)]
pub(crate) enum Removed {
    /// There is no such session.
    Unknown,
    /// Its connection has been told.
    Told,
    /// It has ended.
    Ended(Box<Ended>),
}

fn ended(client: Client) -> Option<Ended> {
    let Client { number, mailbox, whereabouts, .. } = client;
    match whereabouts {
        Whereabouts::Away(absent) => Some(Ended { number, mailbox, absent: *absent }),
        Whereabouts::Here { .. } => None,
    }
}
