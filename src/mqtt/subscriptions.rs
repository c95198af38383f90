//! Who subscribed to what: a tree of topic levels.
//!
//! A look-up walks the levels of a topic once for each wildcard branch beside it, so its cost follows
//! the matches and the depth of the filters, not their number. A connection has at most one
//! subscription per filter; several filters of one connection may match one topic, and the caller
//! merges them.

use std::collections::HashMap;
use std::str::Split;
use std::sync::Arc;

use indexmap::IndexMap;

use super::mailbox::Mailbox;
use crate::message::QoS;
use crate::topic::{TopicFilter, TopicName};

/// The number of a connection; no two connections of one broker share it.
pub(crate) type ConnectionNumber = u64;

/// One subscription of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) id: Option<u32>,
}

type Subscribers = IndexMap<ConnectionNumber, Subscription>;

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
    /// In no order; a connection stands here once for each of its filters that match.
    pub(crate) found: Vec<(ConnectionNumber, &'a Subscription)>,
    /// How many filters matched; only when there are several can a connection stand here twice.
    pub(crate) filters: usize,
}

impl<'a> Matches<'a> {
    fn add(&mut self, subscribers: &'a Subscribers) {
        if !subscribers.is_empty() {
            self.filters += 1;
            self.found.extend(subscribers.iter().map(|(&number, subscription)| (number, subscription)));
        }
    }
}

impl Subscriptions {
    /// How many subscriptions there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether `number` has subscribed to `filter`.
    pub(crate) fn contains(&self, filter: &TopicFilter, number: ConnectionNumber) -> bool {
        let mut node = &self.root;
        for level in filter.levels() {
            let next = match level {
                "#" => return node.below.contains_key(&number),
                "+" => node.any.as_deref(),
                _ => node.levels.get(level),
            };
            let Some(next) = next else { return false };
            node = next;
        }
        node.here.contains_key(&number)
    }

    /// Adds or replaces the subscription of `number` to `filter`.
    pub(crate) fn insert(
        &mut self,
        filter: &TopicFilter,
        number: ConnectionNumber,
        subscription: Subscription,
    ) {
        let mut node = &mut self.root;
        let mut multi = false;
        for level in filter.levels() {
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
        if subscribers.insert(number, subscription).is_none() {
            self.count += 1;
        }
    }

    /// Removes the subscription of `number` to `filter`; false when there is none.
    pub(crate) fn remove(&mut self, filter: &TopicFilter, number: ConnectionNumber) -> bool {
        let removed = remove(&mut self.root, filter.as_str().split('/'), number);
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
fn remove(node: &mut Node, mut levels: Split<'_, char>, number: ConnectionNumber) -> bool {
    match levels.next() {
        None => node.here.swap_remove(&number).is_some(),
        Some("#") => node.below.swap_remove(&number).is_some(),
        Some("+") => {
            let Some(any) = node.any.as_deref_mut() else { return false };
            let removed = remove(any, levels, number);
            if any.is_empty() {
                node.any = None;
            }
            removed
        }
        Some(level) => {
            let Some(next) = node.levels.get_mut(level) else { return false };
            let removed = remove(next, levels, number);
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

    fn subscription(qos: QoS) -> Subscription {
        let mailbox = Arc::new(Mailbox::new("c".into(), 1, 1));
        Subscription { mailbox, qos, no_local: false, retain_as_published: false, id: None }
    }

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
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
        let filters: Vec<TopicFilter> = words(&["a", "ä", "", "$s", "+", "#"])
            .iter()
            .filter_map(|t| TopicFilter::new(&**t).ok())
            .collect();
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
                (0..).zip(&filters).filter(|(_, f)| f.matches(topic)).map(|(n, _)| n).collect();
            assert_eq!(found, expected, "{topic}");
        }
        for (number, filter) in (0..).zip(&filters) {
            assert!(tree.contains(filter, number));
            assert!(tree.remove(filter, number) && !tree.remove(filter, number), "{filter}");
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
        assert_eq!(matches.found[0].1.qos, QoS::ExactlyOnce);
    }
}
