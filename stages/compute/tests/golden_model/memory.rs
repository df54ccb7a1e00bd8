//! `losses/`, the cases of the memory: what is written where, and what is found.

use mugs_compute::memory::{Memory, weak_rows};
use mugs_compute::named::NamedTensors;
use mugs_test_support::{golden, tally};
use tch::Device;

use crate::common::{Comparison, json, tensors};

#[test]
fn memory() {
    let manifest = json("losses/manifest.json");
    let cases = manifest["cases"].as_object().unwrap().iter().filter(|(name, _)| name.starts_with("memory_"));
    let all = tensors(&golden("model/losses/losses.safetensors"));
    let mut comparison = Comparison::with(all);
    let mut ran = 0;
    for (case, facts) in cases {
        let golden = |name: &str| comparison.golden(&format!("{case}.{name}")).shallow_clone();
        let mut memory = Memory::new(case, 16, 8, 3, 0, Device::Cpu);
        let rings =
            ["q", "k", "v"].map(|ring| (format!("block.queue_{ring}"), golden(&format!("queue_{ring}_before"))));
        let mut before = NamedTensors::from(rings);
        before.insert("block.queue_ptr".to_owned(), golden("ptr_before"));
        memory.load(&before, "").unwrap();

        let rows = match facts.get("flags") {
            Some(_) => {
                let weak: Vec<bool> =
                    Vec::<u8>::try_from(golden("flags")).unwrap().iter().map(|flag| *flag == 1).collect();
                weak_rows(&golden("rows"), &weak)
            }
            None => golden("rows"),
        };
        let written = if facts.get("flags").is_some() { rows.size()[0] } else { 0 };
        assert_eq!(serde_json::json!(written), facts["weak_count"], "{case}");
        memory.write(&rows);
        let query = golden("query");
        for (name, tensor) in memory.state() {
            let name = name.trim_start_matches("block.").replace("queue_ptr", "ptr");
            comparison.check(&format!("{case}.{name}_after"), &tensor, 0.0);
        }
        let found = memory.top_n(&query);
        comparison.check(&format!("{case}.top_index"), &found.index, 0.0);
        comparison.check(&format!("{case}.top_k_rows"), &found.rows, 0.0);
        ran += 1;
    }
    assert_eq!(comparison.finish(), 6 * ran);
    assert_eq!(ran, 9);
    tally("memory", ran, "cases");
}
