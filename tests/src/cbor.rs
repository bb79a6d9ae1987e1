//! Bodies of the protocol Smithy RPC v2 CBOR (RFC 8949), which CloudWatch uses, as JSON.

use serde_json::{Map, Value};

/// Returns the value that these bytes are, or `None` if they are no CBOR.
#[must_use]
pub fn decode(mut bytes: &[u8]) -> Option<Value> {
    item(&mut bytes)
}

fn item(rest: &mut &[u8]) -> Option<Value> {
    let first = *take(rest, 1)?.first()?;
    let (kind, info) = (first >> 5, first & 31);
    let size = match info {
        0..=23 => Some(u64::from(info)),
        24..=27 => Some(take(rest, 1 << (info - 24))?.iter().fold(0, |all, byte| (all << 8) | u64::from(*byte))),
        _ => None,
    };
    match kind {
        0 => size.map(Value::from),
        1 => size.and_then(|size| i64::try_from(size).ok()).map(|size| Value::from(-1 - size)),
        2 | 3 => take(rest, usize::try_from(size?).ok()?).map(|text| String::from_utf8_lossy(text).into()),
        4 => list(rest, size, item).map(Value::from),
        5 => {
            let entry = |rest: &mut &[u8]| Some((item(rest)?.as_str()?.to_owned(), item(rest)?));
            list(rest, size, entry).map(|entries| Map::from_iter(entries).into())
        }
        6 => item(rest),
        _ => Some(match info {
            20 => false.into(),
            21 => true.into(),
            26 => f32::from_bits(u32::try_from(size?).ok()?).into(),
            27 => f64::from_bits(size?).into(),
            _ => Value::Null,
        }),
    }
}

/// Reads so many items, or until the "break" of a list without a size.
fn list<T>(rest: &mut &[u8], size: Option<u64>, item: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let Some(size) = size else {
        let mut all = Vec::new();
        while rest.first()? != &0xff {
            all.push(item(rest)?);
        }
        return take(rest, 1).map(|_| all);
    };
    (0..size).map(|_| item(rest)).collect()
}

fn take<'a>(rest: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(size)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::decode;

    #[test]
    fn maps_lists_and_numbers_are_read() {
        // {"a": [1, -2, 1.5], "b": {_ "c": true}}
        let bytes = b"\xa2\x61a\x83\x01\x21\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00\x61b\xbf\x61c\xf5\xff";
        assert_eq!(decode(bytes), Some(json!({"a": [1, -2, 1.5], "b": {"c": true}})));
        assert_eq!(decode(b"\x83\x01"), None);
    }
}
