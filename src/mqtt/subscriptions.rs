//! Who subscribed to what: a tree of topic levels.
//!
//! A shared subscription, `$share/group/filter`, stands at its filter beside the others; of the
//! members of a group one gets the message, in turn, and those that are away only when all are.
//!
//! A look-up walks the levels of a topic once for each wildcard branch beside it, so its cost follows
//! the matches and the depth of the filters, not their number. A session has at most one
//! subscription per filter; several filters of one session may match one topic, and the caller merges
//! them.

use std::collections::HashMap;
use std::fmt;
use std::str::Split;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;

use super::mailbox::Mailbox;
use crate::message::QoS;
use crate::topic::{TopicError, TopicFilter, TopicName};

/// The number of a session; no two sessions of one broker share it.
pub(crate) type SessionNumber = u64;

/// A filter as a client subscribes to it, alone or with the group that shares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Subscribed {
    pub(crate) filter: TopicFilter,
    pub(crate) group: Option<Box<str>>,
}

impl Subscribed {
    /// Reads a filter or `$share/group/filter` (MQTT 5 section 4.8.2).
    ///
    /// # Errors
    /// When either is ill-formed.
    pub(crate) fn parse(text: &str) -> Result<Self, TopicError> {
        let Some(shared) = text.strip_prefix("$share/") else {
            return Ok(Self { filter: TopicFilter::new(text)?, group: None });
        };
        let (group, filter) = shared.split_once('/').ok_or(TopicError::Empty)?;
        if group.is_empty() || filter.is_empty() {
            return Err(TopicError::Empty);
        }
        if group.contains(['+', '#']) {
            return Err(TopicError::MisplacedWildcard);
        }
        Ok(Self { filter: TopicFilter::new(filter)?, group: Some(group.into()) })
    }
}

impl fmt::Display for Subscribed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(group) = &self.group {
            write!(f, "$share/{group}/")?;
        }
        f.write_str(self.filter.as_str())
    }
}

/// What a client asked for with a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) id: Option<u32>,
}

/// One subscription of one session.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) terms: Terms,
}

/// The subscriptions to one filter.
#[derive(Debug, Default)]
struct Subscribers {
    own: Members,
    groups: Vec<Group>,
}

type Members = IndexMap<SessionNumber, Subscription>;

/// Sessions that share the messages of one filter.
#[derive(Debug)]
struct Group {
    name: Box<str>,
    members: Members,
    /// Whose turn it is.
    turn: AtomicUsize,
}

impl Group {
    /// The member that gets the next message.
    fn next(&self) -> Option<(SessionNumber, &Subscription)> {
        let count = self.members.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let member = |offset: usize| self.members.get_index(first.wrapping_add(offset) % count);
        let mut present = (0..count).filter_map(member);
        let chosen = present.find(|(_, member)| !member.mailbox.is_away());
        chosen.or_else(|| (count > 0).then(|| member(0)).flatten()).map(|(number, member)| (*number, member))
    }
}

impl Subscribers {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.groups.is_empty()
    }

    fn members(&self, group: Option<&str>) -> Option<&Members> {
        let Some(group) = group else { return Some(&self.own) };
        self.groups.iter().find(|known| &*known.name == group).map(|known| &known.members)
    }

    fn insert(&mut self, group: Option<&str>, number: SessionNumber, subscription: Subscription) -> bool {
        let Some(group) = group else { return self.own.insert(number, subscription).is_none() };
        let place = self.groups.iter().position(|known| &*known.name == group);
        let place = place.unwrap_or_else(|| {
            self.groups.push(Group {
                name: group.into(),
                members: Members::new(),
                turn: AtomicUsize::new(0),
            });
            self.groups.len() - 1
        });
        self.groups[place].members.insert(number, subscription).is_none()
    }

    fn remove(&mut self, group: Option<&str>, number: SessionNumber) -> bool {
        let Some(group) = group else { return self.own.swap_remove(&number).is_some() };
        let Some(place) = self.groups.iter().position(|known| &*known.name == group) else { return false };
        let removed = self.groups[place].members.swap_remove(&number).is_some();
        if self.groups[place].members.is_empty() {
            self.groups.swap_remove(place);
        }
        removed
    }
}

#[derive(Debug, Default)]
struct Node {
    /// Filters that end here.
    here: Subscribers,
    /// Filters that go on with `#` from here.
    below: Subscribers,
    /// Filters that go on with `+`.
    any: Option<Box<Node>>,
    levels: HashMap<Box<str>, Node>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_empty() && self.any.is_none() && self.levels.is_empty()
    }
}

/// All subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    root: Node,
    count: usize,
}

/// The subscriptions that match a topic.
#[derive(Debug, Default)]
pub(crate) struct Matches<'a> {
    /// In no order; a session stands here once for each of its own filters that match.
    pub(crate) found: Vec<(SessionNumber, &'a Subscription)>,
    /// How many filters matched; only when there are several can a session stand here twice.
    pub(crate) filters: usize,
    /// The chosen member of each shared subscription that matches.
    pub(crate) shared: Vec<(SessionNumber, &'a Subscription)>,
}

impl<'a> Matches<'a> {
    fn add(&mut self, subscribers: &'a Subscribers) {
        if !subscribers.own.is_empty() {
            self.filters += 1;
            self.found.extend(subscribers.own.iter().map(|(&number, subscription)| (number, subscription)));
        }
        self.shared.extend(subscribers.groups.iter().filter_map(Group::next));
    }
}

impl Subscriptions {
    /// How many subscriptions there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether `number` has this subscription.
    pub(crate) fn contains(&self, subscribed: &Subscribed, number: SessionNumber) -> bool {
        let mut node = &self.root;
        let mut multi = false;
        for level in subscribed.filter.levels() {
            let next = match level {
                "#" => {
                    multi = true;
                    break;
                }
                "+" => node.any.as_deref(),
                _ => node.levels.get(level),
            };
            let Some(next) = next else { return false };
            node = next;
        }
        let subscribers = if multi { &node.below } else { &node.here };
        subscribers.members(subscribed.group.as_deref()).is_some_and(|known| known.contains_key(&number))
    }

    /// Adds or replaces a subscription of `number`.
    pub(crate) fn insert(
        &mut self,
        subscribed: &Subscribed,
        number: SessionNumber,
        subscription: Subscription,
    ) {
        let mut node = &mut self.root;
        let mut multi = false;
        for level in subscribed.filter.levels() {
            match level {
                "#" => multi = true,
                "+" => node = node.any.get_or_insert_default(),
                _ => {
                    if !node.levels.contains_key(level) {
                        node.levels.insert(level.into(), Node::default());
                    }
                    node = node.levels.get_mut(level).expect("inserted above when it was missing");
                }
            }
        }
        let subscribers = if multi { &mut node.below } else { &mut node.here };
        if subscribers.insert(subscribed.group.as_deref(), number, subscription) {
            self.count += 1;
        }
    }

    /// Removes a subscription of `number`; false when there is none.
    pub(crate) fn remove(&mut self, subscribed: &Subscribed, number: SessionNumber) -> bool {
        let Subscribed { filter, group } = subscribed;
        let removed = remove(&mut self.root, filter.as_str().split('/'), group.as_deref(), number);
        self.count -= usize::from(removed);
        removed
    }

    /// The subscriptions that receive a message on `topic`.
    pub(crate) fn matching(&self, topic: &TopicName) -> Matches<'_> {
        let mut matches = Matches::default();
        walk(&self.root, topic.as_str().split('/'), topic.is_reserved(), &mut matches);
        matches
    }
}

/// The depth of the recursion is bounded by that of the tree, and so by `filter_levels_max`.
fn walk<'a>(node: &'a Node, mut levels: Split<'_, char>, reserved: bool, matches: &mut Matches<'a>) {
    if !reserved {
        matches.add(&node.below);
    }
    let Some(level) = levels.next() else {
        matches.add(&node.here);
        return;
    };
    if let Some(any) = node.any.as_deref().filter(|_| !reserved) {
        walk(any, levels.clone(), false, matches);
    }
    if let Some(next) = node.levels.get(level) {
        walk(next, levels, false, matches);
    }
}

/// Removes and prunes: no empty node is left behind, so the tree is as large as its filters.
fn remove(node: &mut Node, mut levels: Split<'_, char>, group: Option<&str>, number: SessionNumber) -> bool {
    match levels.next() {
        None => node.here.remove(group, number),
        Some("#") => node.below.remove(group, number),
        Some("+") => {
            let Some(any) = node.any.as_deref_mut() else { return false };
            let removed = remove(any, levels, group, number);
            if any.is_empty() {
                node.any = None;
            }
            removed
        }
        Some(level) => {
            let Some(next) = node.levels.get_mut(level) else { return false };
            let removed = remove(next, levels, group, number);
            if next.is_empty() {
                node.levels.remove(level);
            }
            removed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::BrokerOptions;
    use crate::mqtt::mailbox::Backlog;

    fn subscription(qos: QoS) -> Subscription {
        let absence = Arc::new(Backlog::new(0, 0));
        let mailbox = Arc::new(Mailbox::new(0, "c".into(), true, &BrokerOptions::default(), absence));
        let terms = Terms { qos, no_local: false, retain_as_published: false, id: None };
        Subscription { mailbox, terms }
    }

    fn filter(text: &str) -> Subscribed {
        Subscribed::parse(text).unwrap()
    }

    /// Every filter and every topic of three levels over a small alphabet, against `TopicFilter`.
    #[test]
    fn the_tree_agrees_with_the_filters() {
        let words = |alphabet: &[&str]| {
            let mut texts: Vec<String> = alphabet.iter().map(ToString::to_string).collect();
            for _ in 0..2 {
                let longer: Vec<String> =
                    texts.iter().flat_map(|t| alphabet.iter().map(move |l| format!("{t}/{l}"))).collect();
                texts.extend(longer);
            }
            texts.sort();
            texts.dedup();
            texts
        };
        let filters: Vec<Subscribed> =
            words(&["a", "ä", "", "$s", "+", "#"]).iter().filter_map(|t| Subscribed::parse(t).ok()).collect();
        let topics: Vec<TopicName> =
            words(&["a", "ä", "", "$s", "b"]).iter().filter_map(|t| TopicName::new(&**t).ok()).collect();
        assert!(filters.len() > 100 && topics.len() > 100);
        let mut tree = Subscriptions::default();
        for (number, filter) in (0..).zip(&filters) {
            tree.insert(filter, number, subscription(QoS::AtMostOnce));
        }
        for topic in &topics {
            let mut found: Vec<u64> = tree.matching(topic).found.iter().map(|(number, _)| *number).collect();
            found.sort_unstable();
            let expected: Vec<u64> =
                (0..).zip(&filters).filter(|(_, f)| f.filter.matches(topic)).map(|(n, _)| n).collect();
            assert_eq!(found, expected, "{topic}");
        }
        for (number, filter) in (0..).zip(&filters) {
            assert!(tree.contains(filter, number));
            assert!(tree.remove(filter, number) && !tree.remove(filter, number), "{filter:?}");
        }
        assert!(tree.root.is_empty() && tree.len() == 0, "empty nodes must go");
    }

    #[test]
    fn a_second_subscription_to_a_filter_replaces_the_first() {
        let mut tree = Subscriptions::default();
        tree.insert(&filter("a/#"), 1, subscription(QoS::AtMostOnce));
        tree.insert(&filter("a/#"), 1, subscription(QoS::ExactlyOnce));
        let topic = TopicName::new("a/b").unwrap();
        let matches = tree.matching(&topic);
        assert_eq!((matches.filters, matches.found.len(), tree.len()), (1, 1, 1));
        assert_eq!(matches.found[0].1.terms.qos, QoS::ExactlyOnce);
    }

    #[test]
    fn of_a_group_one_member_gets_the_message_in_turn() {
        let mut tree = Subscriptions::default();
        for number in 1..=3 {
            tree.insert(&filter("$share/g/a/+"), number, subscription(QoS::AtLeastOnce));
        }
        tree.insert(&filter("$share/h/a/#"), 1, subscription(QoS::AtLeastOnce));
        tree.insert(&filter("a/b"), 1, subscription(QoS::AtLeastOnce));
        let topic = TopicName::new("a/b").unwrap();
        let mut turns = Vec::new();
        for _ in 0..6 {
            let matches = tree.matching(&topic);
            assert_eq!((matches.found.len(), matches.shared.len()), (1, 2));
            turns.extend(matches.shared.iter().map(|(number, _)| *number).max());
        }
        turns.sort_unstable();
        assert_eq!(turns, [1, 1, 2, 2, 3, 3]);
        let away = subscription(QoS::AtLeastOnce);
        away.mailbox.leave();
        for number in [1, 3] {
            tree.insert(&filter("$share/g/a/+"), number, away.clone());
        }
        for _ in 0..4 {
            let chosen: Vec<u64> = tree.matching(&topic).shared.iter().map(|(number, _)| *number).collect();
            assert!(chosen.contains(&2), "2 is the only one there: {chosen:?}");
        }
        tree.insert(&filter("$share/g/a/+"), 2, away);
        assert_eq!(tree.matching(&topic).shared.len(), 2, "all are away: one of them is kept the message");
        for number in 1..=3 {
            assert!(tree.remove(&filter("$share/g/a/+"), number));
        }
        assert!(tree.remove(&filter("$share/h/a/#"), 1) && tree.remove(&filter("a/b"), 1));
        assert!(tree.root.is_empty() && tree.len() == 0);
    }

    #[test]
    fn ill_formed_groups_are_refused() {
        for text in
            ["$share/", "$share/g", "$share//a", "$share/g/", "$share/+/a", "$share/#/a", "$share/g/a#"]
        {
            assert!(Subscribed::parse(text).is_err(), "{text}");
        }
        let shared = Subscribed::parse("$share/größe//finance").unwrap();
        assert_eq!((shared.group.as_deref(), shared.filter.as_str()), (Some("größe"), "/finance"));
        assert_eq!(Subscribed::parse("$shared/a").unwrap().group, None);
    }
}
