//! What the 14 crops of a decoded picture cost one quiet thread: mean, median and worst picture, each in the best of some
//! rounds of the same crops; and each operator, over all rounds.
//!
//!   cargo bench -p mugs-data --bench crops -- FOLDER [ROUNDS]      FOLDER = class folders of JPEGs
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a bench")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mugs_data::crop::{CropConfig, Planner, Profile, Renderer};
use mugs_image::{Decoder, Image};
use mugs_simd::Level;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(folder) = arguments.next() else {
        return eprintln!("crops: name a folder of class folders of JPEGs");
    };
    let rounds = arguments.next().map_or(5, |rounds| rounds.parse().expect("a number of rounds"));
    let level = Level::chosen();
    let pictures: Vec<Image> = files(Path::new(&folder)).iter().map(|path| decoded(path)).collect();
    let planner = Planner::new(1, &CropConfig::default()).unwrap();
    let profile = Profile::counting();
    let mut renderer = Renderer::profiled(level, profile.clone());
    let mut times = vec![Duration::MAX; pictures.len()];
    let mut before = Vec::new();
    let mut out = Vec::new();
    for round in 0..=rounds {
        // The first round warms up: buffers grow and memory is mapped.
        if round == 1 {
            times.fill(Duration::MAX);
            before = profile.totals();
        }
        for (position, picture) in pictures.iter().enumerate() {
            let plan = planner.plan(0, position as u64, picture.width, picture.height);
            out.resize(plan.bytes(), 0);
            let begun = Instant::now();
            renderer.render(picture, &plan, &mut out);
            times[position] = times[position].min(begun.elapsed());
        }
    }
    report(level, &pictures, &mut times);
    let count = pictures.len() as f64 * f64::from(rounds);
    for ((task, calls, took), (_, calls_before, took_before)) in profile.totals().into_iter().zip(before) {
        let (calls, took) = ((calls - calls_before) as f64, (took - took_before).as_secs_f64());
        println!("{:18}{:8.2} a picture {:9.4} ms a picture", task.name(), calls / count, took * 1e3 / count);
    }
}

fn report(level: Level, pictures: &[Image], times: &mut [Duration]) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let pixels = |image: &Image| image.width * image.height;
    let small = pictures.iter().zip(&*times).filter(|(image, _)| pixels(image) <= 1_000_000);
    let (count, sum) = small.fold((0, Duration::ZERO), |(count, sum), (_, time)| (count + 1, sum + *time));
    let all: Duration = times.iter().sum();
    times.sort();
    println!(
        "{level}: {:.3} ms a picture, median {:.3}, worst {:.3}; the {count} of at most a million pixels {:.3}",
        milliseconds(all) / pictures.len() as f64,
        milliseconds(times[times.len() / 2]),
        milliseconds(times[times.len() - 1]),
        milliseconds(sum) / f64::from(count),
    );
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    };
    entries(folder).iter().filter(|path| path.is_dir()).flat_map(|class| entries(class)).collect()
}

fn decoded(path: &Path) -> Image {
    Decoder::new().unwrap().decode(&std::fs::read(path).unwrap()).unwrap().image
}
