//! What operands a function takes, written down as Trino writes it: `date_add(varchar, bigint, date)`.
//!
//! A function has one or more forms. A call takes the first form that fits its operands as they are;
//! failing that, the one with the fewest casts that fits after Trino's widening (NULL to anything, INTEGER to BIGINT to
//! DOUBLE, DATE to TIMESTAMP); failing that, after text is read as a timestamp, which Timestream does
//! and Trino does not. `T` and `U` stand for any type, the same wherever they appear; the
//! last operand may be repeated: `concat(varchar...)`.

use datafusion::arrow::datatypes::DataType;

use crate::query::sql_type::{SqlType, list_of, series_of, series_value};

/// How far a call may be from a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Exact,
    Widened,
    FromText,
}

/// One operand, or a result.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Is(SqlType),
    Variable(usize),
    Array(Box<Self>),
    Series(Box<Self>),
}

/// One form of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    text: &'static str,
    operands: Vec<Pattern>,
    repeats: bool,
    result: Pattern,
}

/// What the type variables of a form stand for in one call.
type Bindings = [Option<DataType>; 2];

impl Form {
    /// Reads `name(operand, ...) -> result`.
    pub(super) fn parse(text: &'static str) -> Option<Self> {
        let (call, result) = text.split_once(" -> ")?;
        let (_, operands) = call.split_once('(')?;
        let operands = operands.strip_suffix(')')?;
        let (operands, repeats) = match operands.strip_suffix("...") {
            Some(operands) => (operands, true),
            None => (operands, false),
        };
        let operands = match operands.is_empty() {
            true => vec![],
            false => operands.split(", ").map(Pattern::parse).collect::<Option<_>>()?,
        };
        Some(Self { text: call, operands, repeats, result: Pattern::parse(result)? })
    }

    /// The form as an error text shows it.
    pub(super) fn text(&self) -> &'static str {
        self.text
    }

    fn operand(&self, i: usize) -> Option<&Pattern> {
        self.operands.get(i).or_else(|| self.operands.last().filter(|_| self.repeats))
    }

    /// The types the operands are cast to, if the form can take them.
    fn take(&self, given: &[DataType], reach: Reach) -> Option<(Vec<DataType>, Bindings)> {
        let enough = match self.repeats {
            true => given.len() >= self.operands.len(),
            false => given.len() == self.operands.len(),
        };
        if !enough {
            return None;
        }
        let mut bindings = Bindings::default();
        for (i, of) in given.iter().enumerate() {
            self.operand(i)?.bind(of, reach, &mut bindings)?;
        }
        let taken = (0..given.len()).map(|i| self.operand(i)?.resolve(&bindings)).collect::<Option<_>>()?;
        Some((taken, bindings))
    }
}

/// The first form that takes operands of these types: its number, the types they are cast to, and the
/// type of the result.
pub(super) fn choose(forms: &[Form], given: &[DataType]) -> Option<(usize, Vec<DataType>, DataType)> {
    let given: Vec<DataType> = given.iter().map(plain).collect();
    [Reach::Exact, Reach::Widened, Reach::FromText].into_iter().find_map(|reach| {
        let fitting = forms.iter().enumerate().filter_map(|(i, form)| {
            let (taken, bindings) = form.take(&given, reach)?;
            let result = form.result.resolve(&bindings)?;
            Some((i, taken, result))
        });
        let casts = |taken: &[DataType]| taken.iter().zip(&given).filter(|(a, b)| a != b).count();
        fitting.min_by_key(|(_, taken, _)| casts(taken))
    })
}

/// The one Arrow type we use for what SQL calls one type. Lists and rows keep their insides.
fn plain(of: &DataType) -> DataType {
    match of {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::List(_) | DataType::Struct(_) => of.clone(),
        _ => SqlType::of(of).map_or_else(|| of.clone(), |known| known.arrow()),
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let inner = |prefix: &str| text.strip_prefix(prefix)?.strip_suffix(')');
        match text {
            "T" => return Some(Self::Variable(0)),
            "U" => return Some(Self::Variable(1)),
            _ => {}
        }
        if let Some(item) = inner("array(") {
            return Some(Self::Array(Box::new(Self::parse(item)?)));
        }
        if let Some(value) = inner("timeseries(") {
            return Some(Self::Series(Box::new(Self::parse(value)?)));
        }
        SqlType::parse(text).map(Self::Is)
    }

    /// Checks an operand and learns from it what a variable stands for.
    fn bind(&self, given: &DataType, reach: Reach, bindings: &mut Bindings) -> Option<()> {
        let loose = reach > Reach::Exact;
        match self {
            _ if loose && *given == DataType::Null => Some(()),
            Self::Is(wanted) => {
                let given = SqlType::of(given)?;
                (given == *wanted || converts(&given, wanted, reach)).then_some(())
            }
            Self::Variable(i) => {
                let bound = bindings.get_mut(*i)?;
                let joined = match bound.take() {
                    None => given.clone(),
                    Some(before) if before == *given => before,
                    Some(before) if loose => wider(&before, given)?,
                    Some(_) => return None,
                };
                *bound = Some(joined);
                Some(())
            }
            Self::Array(item) => {
                let DataType::List(field) = given else { return None };
                item.bind(&plain(field.data_type()), if loose { reach } else { Reach::Exact }, bindings)
            }
            Self::Series(value) => value.bind(&plain(series_value(given)?.data_type()), reach, bindings),
        }
    }

    fn resolve(&self, bindings: &Bindings) -> Option<DataType> {
        match self {
            Self::Is(of) => Some(of.arrow()),
            // Only NULLs were given for it.
            Self::Variable(i) => Some(bindings.get(*i)?.clone().unwrap_or(DataType::Null)),
            Self::Array(item) => item.resolve(bindings).map(list_of),
            Self::Series(value) => value.resolve(bindings).map(series_of),
        }
    }
}

/// Whether a value of type `from` may stand for one of type `to`.
fn converts(from: &SqlType, to: &SqlType, reach: Reach) -> bool {
    let widens = matches!(
        (from, to),
        (SqlType::Unknown, _)
            | (SqlType::Integer, SqlType::Bigint | SqlType::Double)
            | (SqlType::Bigint, SqlType::Double)
            | (SqlType::Date, SqlType::Timestamp)
    );
    let read = matches!((from, to), (SqlType::Varchar, SqlType::Timestamp | SqlType::Date));
    (reach >= Reach::Widened && widens) || (reach == Reach::FromText && read)
}

/// The type that holds values of both.
fn wider(one: &DataType, other: &DataType) -> Option<DataType> {
    let (a, b) = (SqlType::of(one)?, SqlType::of(other)?);
    if a == b || converts(&b, &a, Reach::Widened) {
        Some(one.clone())
    } else if converts(&a, &b, Reach::Widened) {
        Some(other.clone())
    } else {
        match (one, other) {
            (DataType::List(one), DataType::List(other)) => {
                wider(&plain(one.data_type()), &plain(other.data_type())).map(list_of)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::sql_type::TIMESTAMP;

    fn forms(texts: &[&'static str]) -> Vec<Form> {
        texts.iter().map(|text| Form::parse(text).expect(text)).collect()
    }

    #[test]
    fn the_form_that_needs_no_cast_comes_first() {
        let forms = forms(&["abs(double) -> double", "abs(bigint) -> bigint"]);
        assert_eq!(choose(&forms, &[DataType::Int64]).map(|(i, ..)| i), Some(1));
        assert_eq!(choose(&forms, &[DataType::Int32]).map(|(i, ..)| i), Some(0));
        assert_eq!(choose(&forms, &[DataType::Utf8]), None);
    }

    #[test]
    fn variables_stand_for_one_type_in_all_places() {
        let forms = forms(&["array_position(array(T), T) -> bigint"]);
        let bigints = list_of(DataType::Int64);
        let taken = choose(&forms, &[bigints.clone(), DataType::Int32]);
        assert_eq!(taken, Some((0, vec![bigints.clone(), DataType::Int64], DataType::Int64)));
        assert_eq!(choose(&forms, &[bigints, DataType::Utf8]), None);
    }

    #[test]
    fn text_is_a_timestamp_only_when_nothing_else_fits() {
        let forms = forms(&["f(varchar) -> varchar", "f(timestamp) -> bigint"]);
        assert_eq!(choose(&forms, &[DataType::Utf8]).map(|(i, ..)| i), Some(0));
        let moments = self::forms(&["hour(timestamp) -> bigint"]);
        assert_eq!(choose(&moments, &[DataType::Utf8]), Some((0, vec![TIMESTAMP], DataType::Int64)));
    }

    #[test]
    fn the_last_operand_may_repeat() {
        let forms = forms(&["concat(varchar...) -> varchar"]);
        assert!(choose(&forms, &[DataType::Utf8View, DataType::Utf8, DataType::Null]).is_some());
        assert!(choose(&forms, &[]).is_none());
    }
}
