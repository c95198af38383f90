//! Topic aliases of ours: numbers that stand for topics in what one client is sent.

use std::collections::HashMap;

use super::packet::Alias;
use crate::topic::TopicName;

/// The aliases of one connection. The first topics get them and keep them: most clients hear few.
#[derive(Debug)]
pub(crate) struct Aliases {
    most: u16,
    by_topic: HashMap<TopicName, u16>,
}

impl Aliases {
    /// No topic has an alias; at most `most` may.
    pub(crate) fn new(most: u16) -> Self {
        Self { most, by_topic: HashMap::new() }
    }

    /// The alias of `topic`, or one that it can have.
    pub(crate) fn of(&self, topic: &TopicName) -> Option<Alias> {
        if self.most == 0 {
            return None;
        }
        if let Some(&number) = self.by_topic.get(topic) {
            return Some(Alias { number, known: true });
        }
        let number = u16::try_from(self.by_topic.len() + 1).ok().filter(|number| *number <= self.most)?;
        Some(Alias { number, known: false })
    }

    /// The client has been told.
    pub(crate) fn told(&mut self, topic: &TopicName, alias: Alias) {
        if !alias.known {
            self.by_topic.insert(topic.clone(), alias.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topics_get_the_aliases_once_they_are_told() {
        let topic = |text: &str| TopicName::new(text).unwrap();
        let mut aliases = Aliases::new(2);
        let first = aliases.of(&topic("a")).unwrap();
        assert_eq!(first, Alias { number: 1, known: false });
        assert_eq!(aliases.of(&topic("b")), Some(first), "the message on a was not sent after all");
        aliases.told(&topic("b"), first);
        aliases.told(&topic("a"), aliases.of(&topic("a")).unwrap());
        assert_eq!(aliases.of(&topic("a")), Some(Alias { number: 2, known: true }));
        assert_eq!(aliases.of(&topic("b")), Some(Alias { number: 1, known: true }));
        assert_eq!(aliases.of(&topic("c")), None);
        assert_eq!(Aliases::new(0).of(&topic("a")), None);
    }
}
