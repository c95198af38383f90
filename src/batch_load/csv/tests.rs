//! Rows and their places, whatever the pieces are and whatever the file is like.

use super::*;

/// Everything a file gives, fed in pieces of `size` bytes.
fn read(
    text: &[u8],
    size: usize,
    configuration: &CsvConfiguration,
) -> Result<Vec<(u64, Vec<String>)>, CsvError> {
    let mut csv = Csv::new(configuration, Place::default());
    let mut rest = Bytes::copy_from_slice(text);
    let mut rows = Vec::new();
    loop {
        match csv.step()? {
            Step::End => return Ok(rows),
            Step::Hungry if rest.is_empty() => csv.feed(None),
            Step::Hungry => csv.feed(Some(rest.split_to(size.min(rest.len())))),
            Step::Row => {
                let (line, fields) = csv.row();
                let field = |at| String::from_utf8_lossy(fields.get(at).expect("a field")).into_owned();
                rows.push((line, (0..fields.count()).map(field).collect()));
            }
        }
    }
}

fn rows(text: &str) -> Vec<(u64, Vec<String>)> {
    let whole = read(text.as_bytes(), 1 << 20, &CsvConfiguration::default()).expect("rows");
    for size in [3, 4, 5, 7, 16] {
        assert_eq!(read(text.as_bytes(), size, &CsvConfiguration::default()).as_ref(), Ok(&whole), "{size}");
    }
    whole
}

fn row(line: u64, fields: &[&str]) -> (u64, Vec<String>) {
    (line, fields.iter().map(|field| (*field).to_owned()).collect())
}

#[test]
fn rows_are_found_with_their_lines() {
    let expected = [row(1, &["a", "b"]), row(2, &["1", "2"]), row(3, &["3", "4"])];
    for text in [
        "a,b\n1,2\n3,4\n",
        "a,b\n1,2\n3,4",
        "a,b\r\n1,2\r\n3,4\r\n",
        "a,b\r1,2\r3,4",
        "\u{feff}a,b\n1,2\n3,4",
    ] {
        assert_eq!(rows(text), expected, "{text:?}");
    }
    let text = "a\n\n\r\n\"x\ny\"\r\nz\n";
    assert_eq!(rows(text), [row(1, &["a"]), row(4, &["x\ny"]), row(6, &["z"])]);
    assert_eq!(rows(""), []);
    assert_eq!(rows("\n\r\n"), []);
    assert_eq!(rows("a,\n"), [row(1, &["a", ""])]);
}

#[test]
fn quotes_and_escapes() {
    assert_eq!(rows("\"a \"\"b\"\", c\",d\n"), [row(1, &["a \"b\", c", "d"])]);
    let configuration = CsvConfiguration {
        column_separator: Some("|".into()),
        quote_char: Some("'".into()),
        escape_char: Some("\\".into()),
        ..CsvConfiguration::default()
    };
    let read = read(b"'a\\'b|c'|d\n", 4, &configuration).expect("rows");
    assert_eq!(read, [row(1, &["a'b|c", "d"])]);
}

#[test]
fn reading_begins_again_at_every_row() {
    let text = "\u{feff}a,b\r\n\u{feff}1,\"2\n2\"\n\n3,4\n5,6\n";
    let all = rows(text);
    let mut csv = Csv::new(&CsvConfiguration::default(), Place::default());
    csv.feed(Some(Bytes::from(text.to_owned())));
    for (index, _) in all.iter().enumerate().take(3) {
        assert_eq!(csv.step(), Ok(Step::Row));
        let place = csv.row_end();
        let mut again = Csv::new(&CsvConfiguration::default(), place);
        let offset = usize::try_from(place.offset).expect("small");
        again.feed(Some(Bytes::from(text[offset..].to_owned())));
        assert_eq!(again.step(), Ok(Step::Row));
        let (line, fields) = again.row();
        let first = String::from_utf8_lossy(fields.get(0).expect("a field")).into_owned();
        assert_eq!((line, first), (all[index + 1].0, all[index + 1].1[0].clone()));
    }
}

#[test]
fn a_row_that_is_half_read_is_read_again() {
    let mut csv = Csv::new(&CsvConfiguration::default(), Place::default());
    csv.feed(Some(Bytes::from_static(b"a,b\n1,\"x\n")));
    assert_eq!((csv.step(), csv.row_end()), (Ok(Step::Row), Place { offset: 4, lines: 1 }));
    assert_eq!((csv.step(), csv.row_end()), (Ok(Step::Hungry), Place { offset: 4, lines: 1 }));
    csv.feed(Some(Bytes::from_static(b"y\"\n")));
    assert_eq!((csv.step(), csv.row_end()), (Ok(Step::Row), Place { offset: 12, lines: 3 }));
}

#[test]
fn long_rows_end_in_an_error_and_not_in_memory() {
    let endless = vec![b'x'; ROW_BYTES_MAX + (1 << 20)];
    let error = read(&endless, 1 << 16, &CsvConfiguration::default()).expect_err("too long");
    assert_eq!(error, CsvError::RowTooLong { line: 1 });
    let mut unclosed = b"a\n\"".to_vec();
    unclosed.extend(b"x\n".repeat(ROW_BYTES_MAX / 2 + 1));
    let error = read(&unclosed, 1 << 20, &CsvConfiguration::default()).expect_err("too long");
    assert!(error.to_string().starts_with("the row that begins in line 2 is longer than"), "{error}");
    let fields = vec![b','; FIELDS_MAX + 1];
    let error = read(&fields, 1 << 16, &CsvConfiguration::default()).expect_err("too many");
    assert_eq!(error, CsvError::TooManyFields { line: 1 });
    let wide = "x".repeat(ROW_BYTES_MAX / 2);
    assert_eq!(read(wide.as_bytes(), 1 << 20, &CsvConfiguration::default()).expect("fits").len(), 1);
}

#[test]
fn characters_that_would_be_mistaken_are_refused() {
    let with = |change: fn(&mut CsvConfiguration)| {
        let mut configuration = CsvConfiguration::default();
        change(&mut configuration);
        configuration.check()
    };
    assert!(with(|one| one.column_separator = Some("\t".into())).is_ok());
    assert!(with(|one| one.escape_char = Some("\"".into())).is_ok());
    for wrong in [
        with(|one| one.column_separator = Some("x".into())),
        with(|one| one.quote_char = Some("`".into())),
        with(|one| one.escape_char = Some("n".into())),
        with(|one| one.escape_char = Some("ä".into())),
        with(|one| {
            one.column_separator = Some("|".into());
            one.escape_char = Some("|".into());
        }),
    ] {
        assert!(wrong.is_err());
    }
}
