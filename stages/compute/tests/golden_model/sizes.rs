//! `vit_small/`: backbones of the published sizes with computed weights.

use mugs_compute::memory::Memory;
use mugs_compute::model::{ModelConfig, Network, RelationBlock, Role};
use mugs_compute::named::NamedTensors;
use mugs_test_support::{golden, tally};
use tch::{Device, IndexOp, Tensor, no_grad_guard};

use crate::common::{Comparison, json, tensors};

const TOLERANCE: f64 = 5e-5;

/// The hash that the golden data's weights are computed from.
fn hash(i: u32, k: u32) -> u32 {
    let mut x = i.wrapping_mul(0x9E37_79B9).wrapping_add(k.wrapping_mul(0x85EB_CA6B));
    x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

fn computed(k: u32, shape: &[i64], scale: f64, offset: f64) -> Tensor {
    let count = shape.iter().product::<i64>() as u32;
    let value = |i| (offset + scale * (f64::from(hash(i, k)) / 4_294_967_296.0 - 0.5)) as f32;
    Tensor::from_slice(&(0..count).map(value).collect::<Vec<f32>>()).reshape(shape)
}

/// A weight by its number in the backbone's state dictionary, its name and its shape.
fn weight(k: u32, name: &str, shape: &[i64]) -> Tensor {
    let (scale, offset) = match (shape.len(), name) {
        (1, name) if name.ends_with("weight") => (0.2, 1.0),
        (1, _) => (0.1, 0.0),
        (_, "backbone.cls_token" | "backbone.pos_embed") => (0.5, 0.0),
        _ => (2.0 / (shape[1..].iter().product::<i64>() as f64).sqrt(), 0.0),
    };
    computed(k, shape, scale, offset)
}

#[test]
fn the_hash_is_the_golden_datas() {
    let manifest = json("vit_small/manifest.json");
    for check in manifest["fill_check"].as_array().unwrap() {
        let field = |name: &str| u32::try_from(check[name].as_u64().unwrap()).unwrap();
        assert_eq!(hash(field("i"), field("k")), field("hash"));
    }
}

/// A backbone without heads (a group head of one cluster, which is not used).
fn backbone(arch: &str) -> Network {
    let config = ModelConfig {
        loss_weights: [0.0, 0.0, 1.0],
        head_hidden_dim: 1,
        group_bottleneck_dim: 1,
        group_out_dim: 1,
        ..ModelConfig::new(arch.parse().unwrap())
    };
    let network = Network::blank(&config, Role::Teacher, Device::Cpu).unwrap();
    let weights = (0..).zip(network.params()).map(|(k, param)| {
        let weight = weight(k, &param.name, &param.tensor.size());
        (param.name.clone(), weight)
    });
    let weights: NamedTensors = weights.collect();
    network.params().load(&weights, "").unwrap();
    network
}

fn check_size(arch: &str) {
    let _no_grad = no_grad_guard();
    let mut comparison = Comparison::with(tensors(&golden("model/vit_small/outputs.safetensors")));
    let network = backbone(arch);
    let width = ModelConfig::new(arch.parse().unwrap()).embed_dim;
    let mut memory = Memory::new(arch, 64, width, 8, 0, Device::Cpu);
    let rings = ["queue_q", "queue_k", "queue_v"].into_iter().zip(100_000..);
    let mut rings: NamedTensors =
        rings.map(|(name, k)| (format!("block.{name}"), computed(k, &[64, width], 12.0_f64.sqrt(), 0.0))).collect();
    rings.insert("block.queue_ptr".to_owned(), Tensor::from_slice(&[0_i64]));
    memory.load(&rings, "").unwrap();
    for (size, k) in [(224, 200_000), (96, 200_001)] {
        let pixels = computed(k, &[2, 3, size, size], 3.0, 0.0);
        check_pixels(&mut comparison, arch, size, &network, &pixels, &memory);
    }
    let expected = json("vit_small/manifest.json")["archs"][arch]["outputs"].as_object().unwrap().len();
    let compared = comparison.finish();
    assert_eq!(compared, expected);
    tally(&format!("{arch} outputs"), compared, "tensors");
}

fn check_pixels(
    comparison: &mut Comparison,
    arch: &str,
    size: i64,
    network: &Network,
    pixels: &Tensor,
    memory: &Memory,
) {
    let backbone = network.backbone();
    let mut check = |name: &str, found: &Tensor, tolerance| {
        comparison.check(&format!("{arch}.{}", name.replace('#', &size.to_string())), found, tolerance);
    };
    let embedded = backbone.embed(pixels);
    check("tokens_in_#_mean", &embedded.mean_dim(1, false, None), TOLERANCE);
    check("tokens_in_#_first4", &embedded.i((.., ..4)), TOLERANCE);
    let after_blocks: Vec<Tensor> = backbone.trace(embedded).collect();
    check("after_block0_#_cls", &after_blocks[0].i((.., 0)), TOLERANCE);
    let tokens = &after_blocks[after_blocks.len() - 1];
    let query = backbone.query(tokens);
    check("query_#", &query, TOLERANCE);
    let neighbours = memory.top_n(&query);
    check("topn_#", &neighbours.index, 0.0);
    check("cls_#", &backbone.class_token(tokens), TOLERANCE);
    check("relation_#", &backbone.relation(&RelationBlock::beside(&query, &neighbours.rows)), TOLERANCE);
    check("patch_mean_#", &backbone.patch_mean(tokens), TOLERANCE);
    check("last_token_#", &backbone.normed(tokens).i((.., -1)), TOLERANCE);
    if arch == "vit_small" {
        check("attention_cls_row_#", &backbone.last_attention(pixels).i((.., .., 0)), TOLERANCE);
    }
}

#[test]
fn vit_small() {
    check_size("vit_small");
}

#[test]
fn vit_base() {
    check_size("vit_base");
}

#[test]
fn vit_large() {
    check_size("vit_large");
}
