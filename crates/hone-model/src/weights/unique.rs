//! JSON in which no object names a key twice, and keys are names.
//!
//! A reader that takes the last of two equal keys and a checker that takes the first see two different files. JSON's
//! own readers let that pass, so every file that comes with weights is looked through first. Keys are repeated in messages
//! and are names of files and tensors: one that would end a line or steer a terminal is refused here, once for all.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::one_line::{is_unruly, one_line};

/// Refuses JSON that is none, that names a key twice in an object or has a key that is no name, with line and column.
pub(crate) fn check(json: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<Unique>(json).map(|_| ())
}

struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Self;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if key.contains(is_unruly) {
                let key = one_line(key);
                return Err(A::Error::custom(format_args!("`{key}` is no name")));
            }
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("`{key}` appears twice")));
            }
            map.next_value_seed(Self)?;
            seen.insert(key);
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self, A::Error> {
        while values.next_element_seed(Self)?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_appears_once_in_its_object() {
        check(br#"{"a": [{"b": 1.5, "c": null}, {"b": "x"}], "b": {"a": true, "d": -1}}"#).unwrap();
        for twice in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"x": [{"a": 1, "b": 2, "a": 3}]}"#,
            // The same key, written otherwise.
            r#"{"a": 1, "\u0061": 2}"#,
        ] {
            let error = check(twice.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("`a` appears twice at line 1"), "{error}");
        }
    }

    #[test]
    fn a_key_is_a_name() {
        let error = check(br#"{"a": {"b\n\u001b[2J": 1}}"#).unwrap_err();
        let expected = r"`b\n\u{1b}[2J` is no name at line 1";
        assert!(error.to_string().starts_with(expected), "{error}");
        // What a key stands for may have as many lines as it likes.
        check(br#"{"chat_template": "a\nb"}"#).unwrap();
    }

    #[test]
    fn what_is_no_json_is_refused_however_deep() {
        assert!(check(b"{").is_err());
        assert!(check(b"{} {}").is_err());
        assert!(check(&b"[".repeat(100_000)).is_err());
    }
}
