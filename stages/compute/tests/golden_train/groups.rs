//! `init/state_dict_keys.json`: which parameter is in which group, in which order.

use mugs_compute::model::{Arch, ModelConfig, Network, Role};
use mugs_compute::optim::{Optimizer, OptimizerKind};
use mugs_test_support::tally;
use serde_json::json;
use tch::Device;

use crate::common::json as golden_json;

#[test]
fn optimizer_groups() {
    let expected = golden_json("init/state_dict_keys.json");
    let mut parameters = 0;
    for (arch, name) in [(Arch::VitSmall, "vit_small"), (Arch::VitBase, "vit_base"), (Arch::VitLarge, "vit_large")] {
        for norm_last_layer in [false, true] {
            // Names do not depend on these widths; smaller ones spare memory.
            let narrow = ModelConfig {
                embed_dim: 48,
                num_heads: 3,
                head_hidden_dim: 8,
                predictor_hidden_dim: 8,
                group_out_dim: 16,
                ..ModelConfig::new(arch)
            };
            let network =
                Network::blank(&ModelConfig { norm_last_layer, ..narrow }, Role::Student, Device::Cpu).unwrap();
            let groups = Optimizer::new(OptimizerKind::AdamW, network.params(), 0.2).state().groups;
            let found: Vec<_> = groups
                .iter()
                .map(|group| json!({"name": group.name, "apply_wd": group.apply_wd, "params": group.parameters}))
                .collect();
            let golden = &expected[name][format!("optimizer_groups_norm_last_layer_{norm_last_layer}")];
            assert_eq!(json!(found), *golden, "{name}, norm_last_layer {norm_last_layer}");
            parameters += groups.iter().map(|group| group.parameters.len()).sum::<usize>();
        }
    }
    tally("optimizer groups", parameters, "parameters");
}
