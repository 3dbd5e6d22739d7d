//! The names of an enum's variants, as its derived `Deserialize` asks for them.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// The variants of `T`.
pub(crate) fn of<T: Deserialize<'static>>() -> BTreeSet<&'static str> {
    match T::deserialize(Ask) {
        Err(Told(names)) => names.iter().copied().collect(),
        Ok(_) => panic!("not an enum"),
    }
}

/// Answers the question for an enum with the list in it.
struct Ask;

/// The list, as the error that it must be.
#[derive(Debug)]
struct Told(&'static [&'static str]);

impl Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Told {}

impl Error for Told {
    fn custom<T: Display>(message: T) -> Self {
        panic!("{message}")
    }
}

impl<'de> Deserializer<'de> for Ask {
    type Error = Told;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Told> {
        Err(Told(variants))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Told> {
        panic!("not an enum")
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
