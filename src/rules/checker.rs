//! Collects the mistakes of one rule while what was written becomes what is meant.

use super::error::Mistake;
use super::file::{self, Text};
use super::sql::Version;
use super::stand_ins::StandIns;
use super::template::Template;

/// The text of a rule's file and the mistakes found in it so far.
#[derive(Debug)]
pub(super) struct Checker<'t> {
    text: &'t str,
    files: &'t StandIns,
    mistakes: Vec<Mistake>,
    /// What SET names.
    variables: Vec<String>,
}

impl<'t> Checker<'t> {
    /// No mistakes yet.
    pub(super) const fn new(text: &'t str, files: &'t StandIns) -> Self {
        Self { text, files, mistakes: Vec::new(), variables: Vec::new() }
    }

    /// What functions may read.
    pub(super) const fn files(&self) -> &'t StandIns {
        self.files
    }

    /// The text of the file.
    pub(super) const fn text(&self) -> &'t str {
        self.text
    }

    /// Learns what SET names, so that templates may use it.
    pub(super) fn know_variables(&mut self, names: impl Iterator<Item = String>) {
        self.variables.extend(names);
    }

    /// The mistakes by line; those without one first.
    pub(super) fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|mistake| mistake.line);
        self.mistakes
    }

    /// Adds a mistake whose line is known.
    pub(super) fn push(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Where `text` starts in the file. JSON does not tell; there it is looked for, and found if it stands
    /// there once.
    pub(super) fn start(&self, text: &Text) -> Option<usize> {
        text.start.or_else(|| {
            let spelled = serde_json::to_string(&text.text).ok().filter(|_| self.text.contains('\n'))?;
            let mut places = self.text.match_indices(&spelled).map(|(at, _)| at);
            places.next().filter(|_| places.next().is_none())
        })
    }

    /// Adds a mistake in what starts at `offset`.
    pub(super) fn mistake(&mut self, offset: Option<usize>, reason: String) {
        let line = offset.map(|offset| file::line_of(self.text, offset));
        self.mistakes.push(Mistake::new(line, reason));
    }

    /// A template over the message.
    pub(super) fn template(&mut self, field: &str, text: &Text, version: Version) -> Option<Template> {
        self.parsed(field, text, Template::parse(&text.text, version, self.files))
    }

    /// A template over the message and, where it says `@{…}`, over one item of the result.
    pub(super) fn item_template(&mut self, field: &str, text: &Text, version: Version) -> Option<Template> {
        self.parsed(field, text, Template::parse_for_items(&text.text, version, self.files))
    }

    fn parsed(&mut self, field: &str, text: &Text, parsed: Result<Template, String>) -> Option<Template> {
        let template =
            parsed.map_err(|reason| self.mistake(self.start(text), format!("{field}: {reason}"))).ok()?;
        let is_known = |name: &str| self.variables.iter().any(|known| known == name);
        if let Some(name) = template.unknown_variable(is_known) {
            let reason = format!("{field}: the statement sets no variable @{name}");
            self.mistake(self.start(text), reason);
        }
        Some(template)
    }

    /// Notes that `template` is empty; for what has to have a text.
    pub(super) fn not_empty(&mut self, field: &str, text: &Text, template: Option<&Template>) {
        if template.is_some_and(|template| template.constant() == Some("")) {
            self.mistake(self.start(text), format!("{field} is empty"));
        }
    }

    /// A template that names something, and so cannot be empty.
    pub(super) fn name_template(&mut self, field: &str, text: &Text, version: Version) -> Option<Template> {
        let template = self.template(field, text, version);
        self.not_empty(field, text, template.as_ref());
        template
    }

    /// Notes that `value` is outside `from..=to`.
    pub(super) fn in_range(&mut self, field: &str, value: u64, from: u64, to: u64) {
        if !(from..=to).contains(&value) {
            self.mistake(None, format!("{field} is {value}, it must be between {from} and {to}"));
        }
    }
}
