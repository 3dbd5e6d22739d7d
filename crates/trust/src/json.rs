//! JSON that decides about trust: a key that is twice there, unknown or of another type is refused, with its place.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool,
    /// A whole number; every other one is None.
    Number(Option<i64>),
    Text(String),
    List(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

/// What is wrong, and where in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) place: String,
    pub(crate) why: String,
}

impl Problem {
    pub(crate) fn new(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { place: place.into(), why: why.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.is_empty() {
            true => f.write_str(&self.why),
            false => write!(f, "{}: {}", self.place, self.why),
        }
    }
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    pub(crate) fn text(self, place: &str) -> Result<String, Problem> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(unexpected(place, "a string", &other)),
        }
    }

    pub(crate) fn list(self, place: &str) -> Result<Vec<Self>, Problem> {
        match self {
            Self::List(list) => Ok(list),
            other => Err(unexpected(place, "a list", &other)),
        }
    }

    pub(crate) fn object(self, place: &str) -> Result<BTreeMap<String, Self>, Problem> {
        match self {
            Self::Object(fields) => Ok(fields),
            other => Err(unexpected(place, "an object", &other)),
        }
    }

    pub(crate) fn bytes(self, place: &str) -> Result<Vec<u8>, Problem> {
        let text = self.text(place)?;
        STANDARD.decode(text).map_err(|e| Problem::new(place, format!("it is not base64: {e}")))
    }
}

fn unexpected(place: &str, wanted: &str, found: &Value) -> Problem {
    Problem::new(place, format!("expected {wanted}, found {}", found.kind()))
}

/// The fields of an object, each taken once; what is left is unknown.
#[derive(Debug)]
pub(crate) struct Fields {
    place: String,
    fields: BTreeMap<String, Value>,
    asked: Vec<&'static str>,
}

impl Fields {
    pub(crate) fn of(value: Value, place: &str) -> Result<Self, Problem> {
        Ok(Self { place: place.to_owned(), fields: value.object(place)?, asked: Vec::new() })
    }

    /// Where a field is.
    pub(crate) fn place(&self, key: &str) -> String {
        below(&self.place, key)
    }

    pub(crate) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.fields.remove(key)
    }

    pub(crate) fn need(&mut self, key: &'static str) -> Result<Value, Problem> {
        self.take(key).ok_or_else(|| Problem::new(&self.place, format!("{key:?} is missing")))
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<String>, Problem> {
        let place = self.place(key);
        let text = self.take(key).map(|value| value.text(&place)).transpose()?;
        match text {
            Some(text) if text.is_empty() => Err(Problem::new(place, "it is empty")),
            text => Ok(text),
        }
    }

    pub(crate) fn need_text(&mut self, key: &'static str) -> Result<String, Problem> {
        self.text(key)?.ok_or_else(|| Problem::new(&self.place, format!("{key:?} is missing")))
    }

    pub(crate) fn number(&mut self, key: &'static str) -> Result<i64, Problem> {
        let place = self.place(key);
        match self.need(key)? {
            Value::Number(Some(number)) => Ok(number),
            other => Err(unexpected(&place, "a whole number", &other)),
        }
    }

    /// Refuses what was not asked for.
    pub(crate) fn end(self) -> Result<(), Problem> {
        let Some(key) = self.fields.keys().next() else { return Ok(()) };
        let near = self.asked.iter().map(|known| (strsim::levenshtein(known, key), known)).min();
        let hint = match near {
            Some((distance, known)) if distance <= 3 => format!("; did you mean {known:?}?"),
            _ => format!("; known are {}", self.asked.join(", ")),
        };
        let key: String = key.chars().take(64).collect();
        Err(Problem::new(&self.place, format!("{key:?} is unknown{hint}")))
    }
}

/// The place of a key in a place: those that are no plain word are in quotes.
pub(crate) fn below(place: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match (place.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (true, false) => format!("[{key:?}]"),
        (false, true) => format!("{place}.{key}"),
        (false, false) => format!("{place}[{key:?}]"),
    }
}

/// Reads a document.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    // Its errors name line and column; so do those of keys that are twice there.
    serde_json::from_slice(bytes).map_err(|error| Problem::new("", error.to_string()))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
                Ok(Value::Bool)
            }
            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(Some(number)))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(i64::try_from(number).ok()))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
                Ok(Value::Number(None))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<Value, E> {
                Ok(Value::Text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = values.next_element()? {
                    list.push(value);
                }
                Ok(Value::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some(key) = entries.next_key::<String>()? {
                    if fields.contains_key(&key) {
                        let key: String = key.chars().take(64).collect();
                        return Err(de::Error::custom(format!("{key:?} is there twice")));
                    }
                    fields.insert(key, entries.next_value()?);
                }
                Ok(Value::Object(fields))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
