//! Complete crops of the reference, step by step, from the decoded picture to the normalised tensor.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use mugs_data::crop::{CropPlan, Erasing, Floats, PicturePlan, Renderer, render_watched};
use mugs_image::{Decoder, Image};
use mugs_simd::Level;
use mugs_test_support::{golden, shared, skip, tally};
use sha2::{Digest, Sha256};

/// What a chain holds beside its plan.
#[derive(serde::Deserialize)]
struct Chain {
    id: String,
    image: String,
    /// Erased before normalisation, as by the reference's prefetcher.
    #[serde(default)]
    prefetcher: bool,
    steps: Vec<Step>,
    sha256: String,
    f32_sha256: String,
    f32_sum: f64,
    f32_sum_sq: f64,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Step {
    op: String,
    width: usize,
    height: usize,
    sha256: String,
}

#[test]
fn golden_chains() {
    let text = std::fs::read_to_string(golden("augment/chains.jsonl")).unwrap();
    let (mut ran, mut left_out) = (0, 0);
    for line in text.lines() {
        let chain: Chain = serde_json::from_str(line).unwrap();
        let Some(picture) = picture(&chain.image) else {
            left_out += 1;
            continue;
        };
        check(&chain, &serde_json::from_str(line).unwrap(), &picture);
        ran += 1;
    }
    tally("chains", ran, "crops");
    if left_out > 0 {
        skip("chains-on-imagenet", &format!("{left_out} chains need ../shared/data"));
    }
}

fn check(chain: &Chain, plan: &CropPlan, picture: &Image) {
    let mut steps = Vec::new();
    let crop = render_watched(picture, plan, &mut |op, image| {
        steps.push(Step { op: op.into(), width: image.width, height: image.height, sha256: sha256(&image.pixels) });
    });
    assert_eq!(steps, chain.steps, "chain {}", chain.id);
    assert_eq!((crop.width, crop.height), (plan.size(), plan.size()), "chain {}", chain.id);
    assert_eq!(sha256(&crop.pixels), chain.sha256, "chain {}", chain.id);

    // The other paths make the same crop at once.
    let plan_of_one = PicturePlan { weak: false, crops: vec![plan.clone()] };
    for level in Level::available() {
        let mut planes = vec![0; plan.bytes()];
        Renderer::new(level).render(picture, &plan_of_one, &mut planes);
        assert!(planes == crop.planes(), "chain {} on {level}", chain.id);
        floats(chain, plan, &planes, level);
    }
}

/// Checks the finished tensor.
fn floats(chain: &Chain, plan: &CropPlan, planes: &[u8], level: Level) {
    let when = if chain.prefetcher { Erasing::BeforeNormalisation } else { Erasing::AfterNormalisation };
    let mut tensor = vec![0.0; planes.len()];
    Floats::on(level, when)
        .crop(planes, plan.size(), plan.erase().as_ref(), &mut tensor, |_, patch| golden_noise(patch));
    let sum: f64 = tensor.iter().map(|&value| f64::from(value)).sum();
    let squares: f64 = tensor.iter().map(|&value| f64::from(value).powi(2)).sum();
    assert!((sum - chain.f32_sum).abs() <= 1e-9 * squares, "chain {}: sum {sum}", chain.id);
    assert!((squares - chain.f32_sum_sq).abs() <= 1e-9 * squares, "chain {}: squares {squares}", chain.id);
    let bytes: Vec<u8> = tensor.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(sha256(&bytes), chain.f32_sha256, "chain {}", chain.id);
}

/// The fixed values that stand for noise in the golden chains.
fn golden_noise(patch: &mut [f32]) {
    for (at, value) in patch.iter_mut().enumerate() {
        *value = ((7919 * at) % 1000) as f32 / 250.0 - 2.0;
    }
}

/// A chain's decoded picture: `data/...` lies in the shared folder, which a public clone lacks (then none).
fn picture(name: &str) -> Option<Image> {
    let path = match name.starts_with("data/") {
        true => shared(name)?,
        false => golden(&format!("augment/images/{name}")),
    };
    Some(Decoder::new().unwrap().decode(&std::fs::read(path).unwrap()).unwrap().image)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
