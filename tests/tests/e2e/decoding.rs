//! How pictures are decoded: large JPEGs fast, and none of too many pixels. And how well mixed the batches are.

use std::fs;
use std::process::{Command, Output};

use mugs_image::{Image, encode};
use serde_json::Value;

use crate::support::{Lab, binary, run, text};

fn bench(arguments: &[&str]) -> Output {
    let short = ["bench", "--workers=1", "--seconds=0.2", "--global_crops_size=32", "--size_crops=16"];
    let output = run(Command::new(binary("mugs-pipeline")).args(short).args(arguments));
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn fast_decoding_is_announced_and_measured_and_never_resumed_silently() {
    let lab = Lab::new(12);
    let set = lab.set.to_str().unwrap();
    // Pictures have 48 to 111 pixels; 63 are enough to be halved.
    let small = ["--data_path", set, "--global_crops_size=16", "--size_crops=32", "--jpeg=fast"];
    let output = bench(&[&small[..], &["--format=json"]].concat());
    let sentence = "--jpeg fast: jpegs whose shorter side has 63 pixels or more are decoded at 1/2";
    assert!(text(&output.stderr).contains(sentence), "{}", text(&output.stderr));
    let jpeg = &json(&output)["jpeg"];
    let of = |name: &str| jpeg[name].as_f64().unwrap_or_else(|| panic!("{name} in {jpeg}"));
    assert!(of("pictures") == 12.0 && of("smaller") > 0.0 && of("smaller") < 12.0, "{jpeg}");
    assert!(of("mean_difference") > 0.0 && of("mean_difference") < of("mean_difference_of_smaller"), "{jpeg}");
    assert!(of("max_difference") >= of("mean_difference_of_smaller") && of("decoding_time") > 0.0, "{jpeg}");
    let said = text(&bench(&small).stdout);
    assert!(said.contains("of 12 pictures smaller") && said.contains("bytes differ"), "{said}");

    let output = bench(&["--data_path", set, "--format=json"]);
    assert!(json(&output).get("jpeg").is_none() && !text(&output.stderr).contains("--jpeg"));

    let begun = run(&mut lab.train("run", &["--jpeg=fast", "--max_steps=1"]));
    assert!(begun.status.success() && text(&begun.stderr).contains("--jpeg fast: "), "{}", text(&begun.stderr));
    assert!(fs::read_to_string(lab.path("run/config.toml")).unwrap().contains("jpeg = \"fast\""));
    let refused = run(&mut lab.train("run", &["--max_steps=2"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains(r#"jpeg: "fast" -> "exact""#), "{}", text(&refused.stderr));
}

#[test]
fn bench_says_how_well_mixed_the_batches_are() {
    let lab = Lab::new(48);
    let set = lab.set.to_str().unwrap();
    // Three classes of 16: one batch of all of them has log2 3 bits, whatever the order.
    let whole = json(&bench(&["--data_path", set, "--format=json"]))["mixing"].clone();
    let entropy = |mixing: &Value, name: &str| mixing[name].as_f64().unwrap_or_else(|| panic!("{mixing}"));
    for name in ["mean_entropy_bits", "ideal_entropy_bits"] {
        assert!((entropy(&whole, name) - 3f64.log2()).abs() < 1e-9, "{whole}");
    }
    let options = ["--data_path", set, "--batch_size_per_gpu=4", "--streams=2", "--shuffle_block=5"];
    let few = json(&bench(&[&options[..], &["--format=json"]].concat()))["mixing"].clone();
    assert_eq!([&few["batch_size"], &few["streams"], &few["shuffle_block"]], [4, 2, 5], "{few}");
    assert!(entropy(&few, "batches") >= 2.0 && entropy(&few, "mean_entropy_bits") < 3f64.log2(), "{few}");
    // Of the 194580 fours 53760 are split 3 + 1 (0.8113 bits), 43200 2 + 2 (1 bit), 92160 2 + 1 + 1 (1.5 bits).
    let expected = (53_760.0 * 0.811_278_124 + 43_200.0 + 92_160.0 * 1.5) / 194_580.0;
    assert!((entropy(&few, "ideal_entropy_bits") - expected).abs() < 1e-6, "{few}");
    let said = text(&bench(&options).stdout);
    assert!(said.contains("bits of class entropy in 4 pictures"), "{said}");

    let (flat, unlabelled) = (lab.path("pictures/class0"), lab.path("flat"));
    assert!(run(Command::new(binary("mugs-shard")).arg("pack").args([&flat, &unlabelled])).status.success());
    let unlabelled = unlabelled.to_str().unwrap();
    assert!(text(&bench(&["--data_path", unlabelled]).stdout).contains("mixing of the batches: no labels"));
    assert_eq!(json(&bench(&["--data_path", unlabelled, "--format=json"]))["mixing"], "no labels");
}

#[test]
fn a_picture_of_too_many_pixels_ends_the_run_or_is_left_out() {
    let lab = Lab::new(12);
    let pictures = lab.path("pictures");
    let mut file = encode::jpeg(&Image::filled(16, 16, [90, 120, 30]), 90).unwrap();
    let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    file[frame + 5..frame + 9].copy_from_slice(&[20_000u16.to_be_bytes(); 2].concat());
    fs::write(pictures.join("class1/huge.jpg"), file).unwrap();
    let folder = pictures.to_str().unwrap();
    // Three steps of four pictures: with one stream none of the thirteen but the last lies behind them.
    let options = ["--data_path", folder, "--streams=1", "--num_workers=1"];
    let train = |more: &[&str]| run(&mut lab.train("run", &[&options, more].concat()));
    let skipped = train(&["--on_bad_sample=skip", "--max_steps=6"]);
    let said = text(&skipped.stderr);
    assert!(skipped.status.success(), "{said}");
    let named = said.lines().filter(|line| line.contains("left out a bad sample")).collect::<Vec<_>>();
    assert!(!named.is_empty() && named.iter().all(|line| line.contains("reason=\"too_large\"")), "{said}");
    assert!(named[0].contains("key=class1_huge") && named[0].contains("20000x20000"), "{said}");
    let failed = text(&train(&[]).stderr);
    for part in ["sample class1_huge in shard ", " at offset ", "too_large", "--max_pixels"] {
        assert!(failed.contains(part), "{part} in {failed}");
    }
    // The option is free: the run goes on with another limit (not one at which 1.2 GB would be filled here).
    let raised = text(&train(&["--max_pixels=200000000"]).stderr);
    assert!(raised.contains("limit of 200000000 pixels") && !raised.contains("options differ"), "{raised}");
}
