//! The published checkpoint against its description.

use mugs_compute::checkpoint::{Checkpoint, Loaded, Position, Value};
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
fn says_that_a_published_checkpoint_is_none_of_ours() {
    let error = Checkpoint::read(&golden("model/checkpoint/checkpoint.pth")).unwrap_err();
    assert!(error.to_string().contains("checkpoint.pth") && !error.is_damage(), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("`mugs`") && cause.contains("the published implementation wrote it"), "{cause}");
}

#[test]
fn every_published_tensor_option_and_step_count_comes_into_the_state() {
    let path = golden("model/checkpoint/checkpoint.pth");
    let Loaded::Published(published) = Loaded::read(&path).unwrap() else { panic!("it is none of ours") };
    let text = std::fs::read_to_string(golden("model/checkpoint/structure.json")).unwrap();
    let structure: Json = serde_json::from_str(&text).unwrap();
    let content = |key: &str| entry(&structure["content"], key).clone();
    assert_eq!(Json::from(published.epoch), content("epoch")["value"]);
    assert_eq!(Position::read(&path).unwrap(), Position { epoch: 2, step: 0 });
    assert_eq!(published.args.len(), content("args")["items"].as_object().unwrap().len());

    let state = &published.state;
    let losses = state.losses.iter().map(|(name, tensors)| (name.as_str(), tensors));
    let parts = [
        ("student", &state.student),
        ("teacher", &state.teacher),
        ("student_mem", &state.student_memory),
        ("teacher_mem", &state.teacher_memory),
    ];
    let mut tensors = 0;
    for (part, found) in parts.into_iter().chain(losses) {
        let expected = content(part);
        let expected = expected["items"].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{part}");
        for ((name, tensor), expected) in found.iter().zip(expected) {
            assert_eq!(expected[0].as_str().unwrap().trim_start_matches("module."), name, "{part}");
            assert_eq!(expected[1]["sha256"], digest(tensor), "{part}.{name}");
            tensors += 1;
        }
    }

    // The optimiser's numbers run over the groups.
    let optimizer = &state.optimizer;
    let names: Vec<&String> = optimizer.groups.iter().flat_map(|group| &group.parameters).collect();
    let expected = entry(&content("optimizer"), "state").clone();
    assert_eq!((names.len(), optimizer.moments.len()), (60, expected["items"].as_array().unwrap().len()));
    for (index, name) in names.iter().enumerate() {
        let (found, expected) = (&optimizer.moments[*name], entry(&expected, &index.to_string()));
        let steps = structure["optimizer_state_indices"]["step_counts_after_epoch_1"][index.to_string()].as_f64();
        assert_eq!(Some(found.step as f64), steps, "{name}");
        for (key, tensor) in [("exp_avg", &found.exp_avg), ("exp_avg_sq", &found.exp_avg_sq)] {
            assert_eq!(entry(expected, key)["sha256"], digest(tensor), "{name}.{key}");
            tensors += 1;
        }
    }
    assert_eq!((published.steps(), [names[27].as_str(), names[28]]), (Some(6), LAST_LAYER));
    tally("published state", tensors, "tensors");
}

/// The last layer was frozen for an epoch: numbers 27 and 28.
const LAST_LAYER: [&str; 2] = ["group_head.last_layer.weight_g", "group_head.last_layer.weight_v"];

/// The entry of a described dict.
fn entry<'a>(dict: &'a Json, key: &str) -> &'a Json {
    let items = dict["items"].as_array().unwrap();
    let found = items.iter().find(|item| text(&item[0]) == key);
    &found.unwrap_or_else(|| panic!("no {key}"))[1]
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
