//! Finds keys that are twice in one object: JSON allows them, but each reader takes another one of the two.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Returns the path of the first key that is in one object twice. Text that is not JSON is not reported here.
pub fn twice(text: &[u8]) -> Option<String> {
    let found = RefCell::new(None);
    let _ = Walk { path: String::new(), found: &found }.deserialize(&mut serde_json::Deserializer::from_slice(text));
    found.into_inner()
}

struct Walk<'a> {
    path: String,
    found: &'a RefCell<Option<String>>,
}

impl Walk<'_> {
    fn below(&self, step: &str) -> Self {
        Self { path: format!("{}{step}", self.path), found: self.found }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let place = if self.path.is_empty() { key.clone() } else { format!(".{key}") };
            let below = self.below(&place);
            if !keys.insert(key) {
                *self.found.borrow_mut() = Some(below.path);
                return Err(M::Error::custom("a key twice"));
            }
            map.next_value_seed(below)?;
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        let mut i = 0;
        while list.next_element_seed(self.below(&format!("[{i}]")))?.is_some() {
            i += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::twice;

    #[test]
    fn the_second_one_is_found_wherever_it_is() {
        assert_eq!(twice(br#"{"a": 1, "b": {"a": 1.5}}"#), None);
        assert_eq!(twice(br#"{"a": 1, "a": 2}"#).as_deref(), Some("a"));
        assert_eq!(twice(br#"{"services": {"web": {"ports": [1, {"x": 1, "x": null}]}}}"#).as_deref(), Some("services.web.ports[1].x"));
    }
}
