//! Patterns of LIKE: ours have the escape character the query names or none, DataFusion's a backslash.

/// `pattern`, escaped by `escape`, in DataFusion's spelling; nothing if `escape` stands before a
/// character that needs none.
pub(crate) fn pattern(pattern: &str, escape: Option<char>) -> Option<String> {
    let mut spelled = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let literal = match Some(character) == escape {
            true => {
                Some(characters.next().filter(|next| matches!(next, '%' | '_') || Some(*next) == escape)?)
            }
            false => (character == '\\').then_some(character),
        };
        match literal {
            Some(literal @ ('%' | '_' | '\\')) => spelled.extend(['\\', literal]),
            Some(literal) => spelled.push(literal),
            None => spelled.push(character),
        }
    }
    Some(spelled)
}

/// What the user reads where [`pattern`] finds nothing.
pub(crate) const WRONG_ESCAPE: &str =
    "Escape character must be followed by '%', '_' or the escape character itself";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_escaped_is_literal() {
        for (written, escape, spelled) in [
            ("a%_", None, Some("a%_")),
            (r"a\%", None, Some(r"a\\%")),
            ("a$%$$_", Some('$'), Some(r"a\%$_")),
            (r"a\%\\", Some('\\'), Some(r"a\%\\")),
            ("%%", Some('%'), Some(r"\%")),
            ("a$b", Some('$'), None),
            ("a$", Some('$'), None),
        ] {
            assert_eq!(pattern(written, escape).as_deref(), spelled, "{written}");
        }
    }
}
