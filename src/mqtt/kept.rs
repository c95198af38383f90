//! What a session is made of beside its mailbox: what one connection leaves and the next goes on with.

use std::collections::{HashMap, HashSet, VecDeque};

use super::retained::{Cursor, Wish};
use super::subscriptions::Subscribed;
use super::window::Window;

/// The parts of one session.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Inbound QoS 2 ids not yet released; true once PUBREC is on its way. At most 65,535.
    pub(crate) unreleased: HashMap<u16, bool>,
    pub(crate) window: Window,
    filters: HashSet<Subscribed>,
    /// Subscriptions that have not been sent all that is retained for them; at most one for each filter.
    wishes: VecDeque<Wish>,
}

impl Kept {
    /// A new session's.
    pub(crate) fn new() -> Self {
        Self {
            unreleased: HashMap::new(),
            window: Window::new(1),
            filters: HashSet::new(),
            wishes: VecDeque::new(),
        }
    }

    /// What an earlier run of the broker left.
    pub(crate) fn restored(
        unreleased: impl IntoIterator<Item = u16>,
        window: Window,
        filters: HashSet<Subscribed>,
        wishes: VecDeque<Wish>,
    ) -> Self {
        let unreleased = unreleased.into_iter().map(|id| (id, true)).collect();
        Self { unreleased, window, filters, wishes }
    }

    /// The same on a new connection, to a client that takes `send_maximum` messages at a time.
    pub(crate) fn resumed(self, send_maximum: u16) -> Self {
        Self { window: self.window.resumed(send_maximum), ..self }
    }

    /// The ids of messages sent and not acknowledged.
    pub(crate) fn in_flight(&self) -> Vec<u16> {
        self.window.ids().collect()
    }

    /// What the session subscribed to.
    pub(crate) fn filters(&self) -> &HashSet<Subscribed> {
        &self.filters
    }

    /// The same, when the session has ended.
    pub(crate) fn into_filters(self) -> HashSet<Subscribed> {
        self.filters
    }

    /// Notes a filter.
    pub(crate) fn add_filter(&mut self, filter: Subscribed) {
        self.filters.insert(filter);
    }

    /// Forgets a filter, and what it still wishes for.
    pub(crate) fn remove_filter(&mut self, filter: &Subscribed) {
        self.filters.remove(filter);
        if filter.group.is_none() {
            self.wishes.retain(|wish| wish.cursor.filter() != &filter.filter);
        }
    }

    /// Notes a wish, in place of an earlier one of its filter.
    pub(crate) fn wish(&mut self, wish: Wish) {
        add_wish(&mut self.wishes, wish);
    }

    /// The wish whose turn it is.
    pub(crate) fn first_wish(&self) -> Option<&Wish> {
        self.wishes.front()
    }

    /// The wish whose turn it is has been fulfilled as far as `cursor`; without one, to its end.
    pub(crate) fn fulfil(&mut self, cursor: Option<Cursor>) {
        match (cursor, self.wishes.front_mut()) {
            (Some(cursor), Some(wish)) => wish.cursor = cursor,
            _ => drop(self.wishes.pop_front()),
        }
    }
}

/// Adds `wish` to `wishes`, in place of an earlier one of its filter: nobody has to be sent twice what the later
/// one brings anyway.
pub(crate) fn add_wish(wishes: &mut VecDeque<Wish>, wish: Wish) {
    wishes.retain(|earlier| earlier.cursor.filter() != wish.cursor.filter());
    wishes.push_back(wish);
}
