//! Draws a small set of pictures to try a pipeline on: 64x64 JPEGs in ten classes of shapes and textures.
//!
//! ```text
//! cargo run --release -p mugs-image --example draw_demo_set -- DIR [--train N] [--val N] [--seed S]
//! ```
//!
//! The files are `DIR/train/<class>/NNNN.jpg` and `DIR/val/<class>/NNNN.jpg`. The same seed gives the same bytes, and a
//! picture depends on the seed, its split and its number alone: a larger set begins with the smaller one's pictures.

mod args;
mod figure;
mod scene;

use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use args::{Args, Request};
use figure::Class;
use mugs_image::encode;
use mugs_random::{Address, Draws, derive};
use scene::Scene;

/// Of the JPEGs, from 1 to 100.
const QUALITY: u8 = 92;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(Request::Draw(args)) => args,
        Ok(Request::Help) => {
            // A reader that closed the pipe has read enough.
            let _ = io::stdout().write_all(args::HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("draw_demo_set: {message}\n\n{}", args::HELP);
            return ExitCode::from(2);
        }
    };
    match draw_set(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("draw_demo_set: {error}");
            ExitCode::FAILURE
        }
    }
}

fn draw_set(args: &Args) -> Result<(), Box<dyn Error>> {
    refuse_occupied(&args.dir)?;
    for (split, (name, pictures)) in (0..).zip([("train", args.train), ("val", args.val)]) {
        draw_split(&args.dir.join(name), args.seed, split, pictures)?;
    }
    eprintln!("drew {} + {} pictures into {}", args.train, args.val, args.dir.display());
    Ok(())
}

/// A folder that holds something is left alone: what lies there would mix with the set.
fn refuse_occupied(dir: &Path) -> Result<(), Box<dyn Error>> {
    let occupied = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(format!("cannot list {}: {error}", dir.display()).into()),
    };
    if occupied {
        return Err(format!("{} is not empty: name a new folder, or empty this one first", dir.display()).into());
    }
    Ok(())
}

/// Draws pictures 0, 1, … of a split; the classes take turns, so all have equally many, give or take one.
fn draw_split(dir: &Path, seed: u64, split: u32, pictures: usize) -> Result<(), Box<dyn Error>> {
    let seed = derive(seed, "demo pictures");
    if pictures > 0 {
        for class in Class::ALL {
            let folder = dir.join(class.name());
            fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        }
    }
    for (picture, position) in (0..pictures).zip(0..) {
        let class = Class::ALL[picture % Class::ALL.len()];
        let mut draws = Draws::at(seed, Address { epoch: split, position, lane: 0 });
        let image = Scene::draw(class, &mut draws).render(&mut draws)?;
        let file = dir.join(class.name()).join(format!("{:04}.jpg", picture / Class::ALL.len()));
        fs::write(&file, encode::jpeg(&image, QUALITY)?)
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(())
}
