//! `forward/`: what the tiny network makes of real crops, and stochastic depth.

use mugs_compute::memory::Memory;
use mugs_compute::model::{Branch, DropPath, ModelConfig, Network, RelationBlock, Role, unit_length};
use mugs_compute::named::NamedTensors;
use mugs_test_support::{golden, tally};
use tch::{Device, IndexOp, Tensor, no_grad_guard, set_num_threads};

use crate::common::{Comparison, crops, json, tensors, tiny_config, tiny_network};

/// Tokens, class tokens and relation tokens.
const TOKENS: f64 = 4e-5;
/// Head outputs, means, positions and attention.
const OUTPUTS: f64 = 1e-5;

fn data(name: &str) -> NamedTensors {
    tensors(&golden(&format!("model/{name}.safetensors")))
}

fn memory(name: &str, start: &NamedTensors) -> Memory {
    let mut memory = Memory::new(name, 64, 48, 4, 0, Device::Cpu);
    memory.load(start, &format!("{name}.")).unwrap();
    memory
}

#[test]
fn outputs_of_student_and_teacher() {
    set_num_threads(1);
    let _no_grad = no_grad_guard();
    let (images, start) = (data("images"), data("step/init_bn0"));
    let mut comparison = Comparison::with(data("forward/outputs"));

    let student = tiny_network(&tiny_config(), Role::Student, &start);
    let student_memory = memory("student_mem", &start);
    let (large, small) = (crops(&images, 0, 0, [2, 3]), crops(&images, 0, 0, [4, 5]));
    check_outputs(&mut comparison, "student", &student, &large, Some(&small), &student_memory);
    check_parts(&mut comparison, "student", "224", &student, &large, &student_memory);
    check_parts(&mut comparison, "student", "96", &student, &small, &student_memory);

    let teacher = tiny_network(&tiny_config(), Role::Teacher, &data("forward/teacher_weights"));
    let teacher_memory = memory("teacher_mem", &start);
    let large_of_teacher = crops(&images, 0, 0, [0, 1]);
    check_outputs(&mut comparison, "teacher", &teacher, &large_of_teacher, None, &teacher_memory);
    check_parts(&mut comparison, "teacher", "224", &teacher, &large_of_teacher, &teacher_memory);

    check_extras(&mut comparison, &student, &large);
    check_prediction_without_norm(&mut comparison, &start, &large, &student_memory);
    check_other_sizes(&mut comparison, &student, &large);
    check_positions(&mut comparison, &student);
    let compared = comparison.finish();
    assert_eq!(compared, json("forward/manifest.json")["tensors"].as_object().unwrap().len());
    tally("forward", compared, "tensors");
}

fn check_outputs(
    comparison: &mut Comparison,
    who: &str,
    network: &Network,
    large: &Tensor,
    small: Option<&Tensor>,
    memory: &Memory,
) {
    let outputs = network.forward(large, small, Some(memory), &DropPath::off());
    comparison.check(&format!("{who}.instance"), &outputs.instance.unwrap(), OUTPUTS);
    comparison.check(&format!("{who}.local_group"), &outputs.local_group.unwrap(), OUTPUTS);
    comparison.check(&format!("{who}.group"), &outputs.group.unwrap(), OUTPUTS);
    comparison.check(&format!("{who}.mean_patch"), &outputs.patch_mean, OUTPUTS);
}

fn check_parts(
    comparison: &mut Comparison,
    who: &str,
    size: &str,
    network: &Network,
    pixels: &Tensor,
    memory: &Memory,
) {
    let backbone = network.backbone();
    let tokens = backbone.tokens(pixels);
    let normed = backbone.normed(&tokens);
    if size == "224" {
        comparison.check(&format!("{who}.cls_224"), &backbone.class_token(&tokens), TOKENS);
        comparison.check(&format!("{who}.tokens_224_first"), &normed.i(..1), TOKENS);
    } else {
        comparison.check(&format!("{who}.tokens_96"), &normed, TOKENS);
    }
    let query = backbone.query(&tokens);
    comparison.check(&format!("{who}.query_{size}"), &query, OUTPUTS);
    let neighbours = memory.top_n(&query);
    comparison.check(&format!("{who}.topn_index_{size}"), &neighbours.index, 0.0);
    let relation = backbone.relation(&RelationBlock::beside(&query, &neighbours.rows));
    comparison.check(&format!("{who}.relation_{size}"), &relation, TOKENS);
}

fn check_extras(comparison: &mut Comparison, student: &Network, large: &Tensor) {
    let backbone = student.backbone();
    let tokens = backbone.tokens(large);
    comparison.check("extra.forward_knn", &backbone.class_token(&tokens), TOKENS);
    comparison.check("extra.relation_without_memory", &backbone.relation(&tokens), TOKENS);

    let attention = backbone.last_attention(&large.i(..1));
    comparison.check("extra.last_selfattention", &attention.i((.., .., ..3)), OUTPUTS);
    let row_sums = attention.sum_dim_intlist([-1].as_slice(), false, None);
    comparison.check("extra.last_selfattention_rowsum", &row_sums, OUTPUTS);

    let last_blocks = backbone.last_blocks(&large.i(..2), 2);
    for (i, tokens) in last_blocks.iter().enumerate() {
        comparison.check(&format!("extra.intermediate_{i}_cls"), &tokens.i((.., 0)), TOKENS);
        let mean = tokens.i((.., 1..)).mean_dim(1, false, None);
        comparison.check(&format!("extra.intermediate_{i}_patchmean"), &mean, TOKENS);
    }
}

fn check_prediction_without_norm(comparison: &mut Comparison, start: &NamedTensors, large: &Tensor, memory: &Memory) {
    let config = ModelConfig { norm_before_pred: false, ..tiny_config() };
    let network = tiny_network(&config, Role::Student, start);
    let outputs = network.forward(large, None, Some(memory), &DropPath::off());
    comparison.check("extra.instance_no_norm_before_pred", &outputs.instance.unwrap(), OUTPUTS);
}

fn check_other_sizes(comparison: &mut Comparison, student: &Network, large: &Tensor) {
    let class_token = |pixels: &Tensor| student.backbone().class_token(&student.backbone().tokens(pixels));
    let two = large.i(..2);
    let nearest = two.upsample_nearest2d([112, 160], None, None);
    comparison.check("extra.input_112x160_cls", &class_token(&nearest), TOKENS);
    let wide = Tensor::cat(&[two.i((.., .., ..100, ..)), two.i((.., .., ..100, ..6))], 3);
    comparison.check("extra.input_100x230_cls", &class_token(&wide), TOKENS);

    let first = large.i(..1);
    let scaled = [1.0, 0.5_f64.sqrt(), 0.5].map(|scale| {
        let size = (224.0 * scale).floor() as i64;
        class_token(&first.upsample_bilinear2d([size; 2], false, scale, scale))
    });
    let mean = Tensor::stack(&scaled, 0).mean_dim(0, false, None);
    comparison.check("extra.multi_scale_first", &unit_length(&mean), TOKENS);
}

fn check_positions(comparison: &mut Comparison, student: &Network) {
    for (height, width) in
        [(96, 96), (224, 224), (112, 160), (160, 112), (112, 448), (480, 480), (240, 240), (100, 230)]
    {
        let name = format!("pos.{height}x{width}");
        let channels = comparison.golden(&name).size()[2];
        let positions = student.backbone().positions(height, width);
        comparison.check(&name, &positions.i((.., .., ..channels)), OUTPUTS);
    }
}

#[test]
fn stochastic_depth_of_the_network() {
    set_num_threads(1);
    let _no_grad = no_grad_guard();
    let (images, start) = (data("images"), data("step/init_bn0"));
    let config = ModelConfig { drop_path_rate: 0.3, ..tiny_config() };
    let student = tiny_network(&config, Role::Student, &start);
    let mut comparison = Comparison::with(data("forward/drop_path"));
    let draws = |branch| Vec::<f32>::try_from(comparison.golden(&format!("net_draws_{branch}_branch"))).unwrap();
    let (attention, mlp) = (draws("attention"), draws("mlp"));
    let drop_path = DropPath::from_draws(4, move |site, crop, image| {
        assert_eq!(site.block, 1, "the first block draws nothing");
        let draws = if site.branch == Branch::Attention { &attention } else { &mlp };
        draws[4 * (crop - 2) + image]
    });
    let backbone = student.backbone();
    let tokens = backbone.tokens_of_crops(&crops(&images, 0, 0, [4, 5]), &drop_path, 2);
    let query = backbone.query(&tokens);
    let neighbours = memory("student_mem", &start).top_n(&query).rows;
    let relation = backbone.relation(&RelationBlock::beside(&query, &neighbours));
    comparison.check("net_tokens", &backbone.normed(&tokens), TOKENS);
    comparison.check("net_relation", &relation, TOKENS);
    comparison.finish();
}

#[test]
fn stochastic_depth_of_one_branch() {
    let mut comparison = Comparison::with(data("forward/drop_path"));
    let input = comparison.golden("op_input").shallow_clone();
    let cases = json("forward/drop_path.json")["cases"].as_array().unwrap().clone();
    for case in &cases {
        let rate = case["p"].as_f64().unwrap();
        let draws = Vec::<f32>::try_from(comparison.golden(&format!("op_p{rate}_draws"))).unwrap();
        let factors: Vec<f32> = draws.iter().map(|draw| DropPath::factor(*draw, rate)).collect();
        let kept: Vec<bool> = factors.iter().map(|factor| *factor != 0.0).collect();
        assert_eq!(serde_json::json!(kept), case["kept"], "rate {rate}");
        let output = &input * Tensor::from_slice(&factors).reshape([6, 1, 1]);
        comparison.check(&format!("op_p{rate}_output"), &output, 1e-6);
    }
    tally("stochastic depth", comparison.finish(), "operators");
}

#[test]
fn stochastic_depth_grows_linearly_to_the_published_rates() {
    let rates = json("forward/drop_path.json")["rates_default"].as_object().unwrap().clone();
    for (name, expected) in rates {
        let (arch, rate) = name.rsplit_once('_').unwrap();
        let config = ModelConfig { drop_path_rate: rate.parse().unwrap(), ..ModelConfig::new(arch.parse().unwrap()) };
        let expected: Vec<f32> =
            expected.as_array().unwrap().iter().map(|rate| rate.as_f64().unwrap() as f32).collect();
        let found: Vec<f32> = config.drop_path_rates().iter().map(|rate| *rate as f32).collect();
        assert_eq!(found, expected, "{name}");
    }
}
