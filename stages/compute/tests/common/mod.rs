//! Reading golden data into tensors, and comparing.

use std::path::Path;

use mugs_compute::model::{Arch, ModelConfig, Network, Role};
use mugs_compute::named::NamedTensors;
use mugs_test_support::golden;
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

/// All tensors of a safetensors file.
pub fn tensors(path: &Path) -> NamedTensors {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            Dtype::I32 => Kind::Int,
            Dtype::U8 => Kind::Uint8,
            other => panic!("{name} has type {other:?}"),
        };
        let shape: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
        (name, Tensor::from_data_size(view.data(), &shape, kind))
    };
    file.tensors().into_iter().map(tensor).collect()
}

/// A JSON file of the golden data of the model.
pub fn json(relative: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(golden(&format!("model/{relative}"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The tiny network of the golden data.
pub fn tiny_config() -> ModelConfig {
    ModelConfig {
        embed_dim: 48,
        depth: 2,
        num_heads: 3,
        drop_path_rate: 0.0,
        head_hidden_dim: 64,
        predictor_hidden_dim: 96,
        instance_out_dim: 32,
        local_group_out_dim: 32,
        local_group_knn_top_n: 4,
        group_bottleneck_dim: 32,
        group_out_dim: 128,
        ..ModelConfig::new(Arch::VitTiny)
    }
}

/// A tiny network with weights of the golden data.
pub fn tiny_network(config: &ModelConfig, role: Role, weights: &NamedTensors) -> Network {
    let network = Network::blank(config, role, Device::Cpu).unwrap();
    let prefix = if role == Role::Student { "student." } else { "teacher." };
    network.params().load(weights, prefix).unwrap();
    network
}

/// The network input made of some crops of an iteration on a rank, `[crops·4, 3, s, s]`, crop first, then image.
pub fn crops(images: &NamedTensors, iteration: i64, rank: i64, crops: impl IntoIterator<Item = i64>) -> Tensor {
    let fields = images["step_crops"].select(0, iteration).select(0, rank);
    let rows: Vec<Tensor> = crops
        .into_iter()
        .flat_map(|crop| (0..4).map(move |image| (image, crop)))
        .map(|(image, crop)| one_crop(&images["pool"], &Vec::<i32>::try_from(fields.get(image).get(crop)).unwrap()))
        .collect();
    Tensor::stack(&rows, 0)
}

fn one_crop(pool: &Tensor, fields: &[i32]) -> Tensor {
    let &[picture, top, left, size, flip, invert] = fields else { panic!("{} fields", fields.len()) };
    let pixels = pool.get(picture.into()).narrow(0, top.into(), size.into()).narrow(1, left.into(), size.into());
    let pixels = if flip == 1 { pixels.flip([1]) } else { pixels };
    let pixels = if invert == 1 { 255 - pixels } else { pixels };
    let [mean, std] = [[0.485_f32, 0.456, 0.406], [0.229, 0.224, 0.225]].map(|channels| Tensor::from_slice(&channels));
    ((pixels.to_kind(Kind::Float) / 255.0 - mean) / std).permute([2, 0, 1]).contiguous()
}

/// Compares tensors with their golden values and counts them.
pub struct Comparison {
    golden: NamedTensors,
    compared: usize,
    failures: Vec<String>,
}

impl Comparison {
    pub fn with(golden: NamedTensors) -> Comparison {
        Comparison { golden, compared: 0, failures: Vec::new() }
    }

    pub fn golden(&self, name: &str) -> &Tensor {
        self.golden.get(name).unwrap_or_else(|| panic!("no golden tensor is called {name}"))
    }

    /// `found` differs from the golden tensor `name` by at most `tolerance` anywhere; at 0 it must be equal.
    pub fn check(&mut self, name: &str, found: &Tensor, tolerance: f64) {
        self.compared += 1;
        let (expected, found) = (self.golden(name), found.detach());
        if expected.size() != found.size() {
            self.failures.push(format!("{name}: shape {:?}, not {:?}", found.size(), expected.size()));
            return;
        }
        let difference = (found.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs().max().double_value(&[]);
        // Written so that NaN fails.
        if !matches!(difference.partial_cmp(&tolerance), Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)) {
            self.failures.push(format!("{name}: differs by {difference:e}, allowed {tolerance:e}"));
        }
    }

    /// Fails with all differences; else says how many tensors were compared.
    pub fn finish(self) -> usize {
        assert!(
            self.failures.is_empty(),
            "{} of {}:\n{}",
            self.failures.len(),
            self.compared,
            self.failures.join("\n")
        );
        self.compared
    }
}
