//! Several documents one after another, which become one: stages that do not need each other may run at the same time.

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::At;
use super::document::{json, not_json};
use crate::diff::differing;
use crate::error::{Error, Result};

/// Joins the JSON documents in a text: each adds the keys that those before it do not have. One document stays as it is.
///
/// # Errors
/// Says where the text is not JSON, or where two documents differ.
pub fn join(text: Vec<u8>) -> Result<Vec<u8>> {
    let pieces = if text.trim_ascii_start().starts_with(b"{") { pieces(&text)? } else { Vec::new() };
    let Some((first, others)) = pieces.split_first().filter(|(_, others)| !others.is_empty()) else { return Ok(text) };
    let mut joined = object(first)?;
    for other in others {
        let other = object(other)?;
        if let Some(place) = joined.iter().find_map(|(key, value)| differing(key, value, other.get(key)?)) {
            return Err(Error::document(
                "documents-differ",
                place,
                "two documents on stdin have different values here. Only documents that came from the same model can be joined. Run the stages before this one again, all on the same model",
            ));
        }
        for (key, value) in other {
            joined.entry(key).or_insert(value);
        }
    }
    Ok(format!("{}\n", Value::Object(joined)).into_bytes())
}

fn pieces(text: &[u8]) -> Result<Vec<&[u8]>> {
    let (mut pieces, mut began) = (Vec::new(), 0);
    let mut documents = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    while let Some(document) = documents.next() {
        document.map_err(|error| not_json(&error))?;
        let ended = documents.byte_offset();
        pieces.push(&text[began..ended]);
        began = ended;
    }
    Ok(pieces)
}

fn object(text: &[u8]) -> Result<Map<String, Value>> {
    match json(text)? {
        Value::Object(object) => Ok(object),
        other => Err(At::of("stdin".to_owned(), &other).expected("not-documents", "one document, or several JSON objects")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> Result<String, String> {
        let text = join(text.as_bytes().to_vec()).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    fn each_document_adds_its_sections_and_keeps_their_order() {
        let text = r#"{"name": "shop", "aws": {}, "net": {"a": 1.10}} {"name": "shop", "aws": {}, "img": {"b": 2}}"#;
        assert_eq!(joined(text).unwrap(), "{\"name\":\"shop\",\"aws\":{},\"net\":{\"a\":1.10},\"img\":{\"b\":2}}\n");
    }

    #[test]
    fn one_document_stays_as_it_is() {
        for text in ["{\"name\":  \"shop\"}\n", "name: shop\n", ""] {
            assert_eq!(joined(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn documents_that_differ_are_not_joined() {
        let web = |image: &str| format!("{{\"services\": {{\"web\": {{\"image\": \"{image}\"}}}}}}");
        let said = joined(&format!("{}{}", web("nginx:1.27"), web("nginx:1.28"))).unwrap_err();
        assert!(said.contains("services.web.image: two documents on stdin have different values"), "{said}");
        assert_eq!(joined(&web("nginx").repeat(2)).unwrap().matches("nginx").count(), 1);
    }

    #[test]
    fn each_document_is_whole() {
        let said = joined("{\"name\": \"shop\"}\n}").unwrap_err();
        assert!(said.contains("not JSON: expected value at line 2 column 1"), "{said}");
        let said = joined(r#"{"name": "shop"} {"name": "shop", "net": {"a": 1, "a": 2}}"#).unwrap_err();
        assert!(said.contains("net.a: this key occurs twice"), "{said}");
        let said = joined(r#"{"name": "shop"} 5"#).unwrap_err();
        assert!(said.contains("found 5"), "{said}");
    }
}
