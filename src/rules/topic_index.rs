//! Finds the rules that see a topic without asking every rule: a tree of topic levels.
//!
//! A search visits only levels that match, so its cost follows the rules that match, not the rules
//! there are. Messages to `$aws/rules/<name>` reach the one rule of that name (spec 6.6).

use std::collections::HashMap;

use ahash::RandomState;

use crate::topic::{TopicFilter, TopicName};

/// Places of rules in their set, by what they listen to.
#[derive(Debug, Default)]
pub(crate) struct TopicIndex {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    levels: HashMap<Box<str>, Node, RandomState>,
    any: Option<Box<Node>>,
    /// Rules whose filter ends here.
    here: Vec<usize>,
    /// Rules whose filter has `#` as its next level.
    below: Vec<usize>,
}

impl TopicIndex {
    /// Adds the rule at `place`, which listens to `filter`.
    pub(crate) fn insert(&mut self, filter: &TopicFilter, place: usize) {
        let mut node = &mut self.root;
        for level in filter.levels() {
            match level {
                "#" => {
                    node.below.push(place);
                    return;
                }
                "+" => node = node.any.get_or_insert_default(),
                level => node = node.levels.entry(level.into()).or_default(),
            }
        }
        node.here.push(place);
    }

    /// The places of all rules that see `topic`, in ascending order.
    pub(crate) fn find(&self, topic: &TopicName) -> Vec<usize> {
        let mut found = Vec::new();
        let mut levels = topic.levels();
        if !topic.is_reserved() {
            self.root.collect(levels, &mut found);
        } else if let Some(node) = levels.next().and_then(|first| self.root.levels.get(first)) {
            // A filter that starts with a wildcard does not see the server's own topics.
            node.collect(levels, &mut found);
        }
        found.sort_unstable();
        found
    }
}

impl Node {
    /// Recursion is as deep as the deepest filter, which the checker bounds.
    fn collect<'t>(&self, mut levels: impl Iterator<Item = &'t str> + Clone, found: &mut Vec<usize>) {
        let Some(level) = levels.next() else {
            found.extend(&self.here);
            return;
        };
        // `a/#` sees what is below `a`, not `a` itself.
        found.extend(&self.below);
        if let Some(node) = self.levels.get(level) {
            node.collect(levels.clone(), found);
        }
        if let Some(node) = &self.any {
            node.collect(levels, found);
        }
    }
}

/// If `topic` is Basic Ingest's, the rule it names and what that rule sees as its topic.
pub(crate) fn basic_ingest(topic: &TopicName) -> Option<(&str, &str)> {
    let rest = topic.as_str().strip_prefix("$aws/rules/")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_agrees_with_matching_every_filter() {
        let filters: Vec<TopicFilter> = [
            "a",
            "a/b",
            "a/+",
            "+/b",
            "+",
            "#",
            "a/#",
            "+/#",
            "a/+/c",
            "a/b/#",
            "/a",
            "+/+/+",
            "$aws/#",
            "$aws/things/+",
            "a/",
            "//",
        ]
        .into_iter()
        .map(|text| TopicFilter::new(text).expect("a filter"))
        .collect();
        let mut index = TopicIndex::default();
        for (place, filter) in filters.iter().enumerate() {
            index.insert(filter, place);
        }
        let topics = [
            "a",
            "b",
            "a/b",
            "a/b/c",
            "a/x/c",
            "/a",
            "/",
            "a/",
            "//",
            "$aws/things/x",
            "$aws",
            "$x",
            "x/b",
            "a/b/c/d",
        ];
        for text in topics {
            let topic = TopicName::new(text).expect("a topic");
            let expected: Vec<usize> =
                (0..filters.len()).filter(|&place| filters[place].matches_for_rule(&topic)).collect();
            assert_eq!(index.find(&topic), expected, "{text}");
        }
    }

    #[test]
    fn basic_ingest_names_a_rule() {
        let parts = |text: &str| {
            let topic = TopicName::new(text).expect("a topic");
            basic_ingest(&topic).map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        };
        assert_eq!(parts("$aws/rules/R1/a/b"), Some(("R1".to_owned(), "a/b".to_owned())));
        assert_eq!(parts("$aws/rules/R1"), Some(("R1".to_owned(), String::new())));
        assert_eq!(parts("$aws/things/x"), None);
    }
}
