//! The published checkpoint against its description.

use mugs_compute::checkpoint::{Checkpoint, Value};
use mugs_test_support::{golden, tally};
use serde_json::Value as Json;

use crate::sample::{digest, published};

#[test]
fn reads_every_entry_of_the_published_checkpoint() {
    let text = std::fs::read_to_string(golden("model/checkpoint/structure.json")).unwrap();
    let structure: Json = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    compare("", &published(), &structure["content"], &mut compared);
    assert_eq!(compared, 572);
    tally("published checkpoint", compared, "values and tensors");
}

#[test]
fn says_that_a_published_checkpoint_cannot_be_resumed() {
    let error = Checkpoint::read(&golden("model/checkpoint/checkpoint.pth")).unwrap_err();
    assert!(error.to_string().contains("checkpoint.pth"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("`mugs`") && cause.contains("not supported yet"), "{cause}");
}

fn compare(at: &str, found: &Value, expected: &Json, compared: &mut usize) {
    *compared += 1;
    let kind = expected["type"].as_str().unwrap();
    match found {
        Value::None => assert_eq!(kind, "NoneType", "{at}"),
        Value::Bool(value) => assert_eq!(("bool", Some(*value)), (kind, expected["value"].as_bool()), "{at}"),
        Value::Int(value) => assert_eq!(("int", Some(*value)), (kind, expected["value"].as_i64()), "{at}"),
        Value::Float(value) => {
            assert!(matches!(kind, "float" | "numpy.float64"), "{at}: {kind}");
            assert_eq!(Some(*value), expected["value"].as_f64(), "{at}");
        }
        Value::Str(value) => assert_eq!(("str", Some(value.as_str())), (kind, expected["value"].as_str()), "{at}"),
        Value::List(items) | Value::Tuple(items) => {
            assert_eq!(found.type_name(), kind, "{at}");
            let expected = expected["items"].as_array().unwrap();
            assert_eq!(items.len(), expected.len(), "{at}");
            items.iter().zip(expected).for_each(|(item, expected)| compare(at, item, expected, compared));
        }
        Value::Dict(items) | Value::OrderedDict(items) => {
            assert_eq!(found.type_name(), kind, "{at}");
            compare_items(at, items, &expected["items"], compared);
        }
        Value::Opaque(opaque) => {
            assert_eq!((opaque.global.as_str(), kind), ("argparse.Namespace", "argparse.Namespace"), "{at}");
            compare_items(at, opaque.state.as_ref().unwrap().entries().unwrap(), &expected["items"], compared);
        }
        Value::Tensor(tensor) => {
            let dtype = if tensor.kind() == tch::Kind::Float { "float32" } else { "int64" };
            assert_eq!(expected["dtype"], dtype, "{at}");
            assert_eq!(expected["shape"], serde_json::json!(tensor.size()), "{at}");
            assert_eq!(expected["sha256"], digest(tensor), "{at}");
        }
    }
}

fn compare_items(at: &str, items: &[(Value, Value)], expected: &Json, compared: &mut usize) {
    let expected: Vec<(String, &Json)> = match expected {
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        pairs => pairs.as_array().unwrap().iter().map(|pair| (text(&pair[0]), &pair[1])).collect(),
    };
    assert_eq!(items.len(), expected.len(), "{at}");
    for ((key, value), (name, expected)) in items.iter().zip(expected) {
        let key = match key {
            Value::Str(key) => key.clone(),
            Value::Int(key) => key.to_string(),
            other => panic!("{at}: {other:?} as a key"),
        };
        assert_eq!(key, name, "{at}");
        compare(&format!("{at}.{name}"), value, expected, compared);
    }
}

fn text(key: &Json) -> String {
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}
