//! Binaries, a small set and a small run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use mugs_image::{Image, encode};
use mugs_random::{Address, Draws};
use tempfile::TempDir;

/// A release binary of this workspace, built once per test run (cheap when it is up to date).
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--locked", "--workspace", "--bins", "--quiet"])
            .current_dir(mugs_test_support::checkout())
            .status();
        assert!(built.unwrap().success(), "the binaries do not build");
        // target/release/deps/e2e-... -> target/release
        std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf()
    });
    folder.join(name)
}

/// Writes `count` pictures in three class folders: textures of different sizes.
pub fn pictures(folder: &Path, count: u64) {
    for number in 0..count {
        let mut draws = Draws::at(11, Address { epoch: 0, position: number, lane: 0 });
        let (width, height) = (48 + draws.below(64) as usize, 48 + draws.below(64) as usize);
        let (a, b, c) = (draws.below(9) as usize + 1, draws.below(9) as usize + 1, draws.below(200) as usize);
        let pixels = (0..width * height)
            .flat_map(|i| {
                let (x, y) = (i % width, i / width);
                [(x * a) as u8, (y * b) as u8, ((x / 8 + y / 8) * c) as u8]
            })
            .collect();
        let class = folder.join(format!("class{}", number % 3));
        std::fs::create_dir_all(&class).unwrap();
        let jpeg = encode::jpeg(&Image::new(width, height, pixels).unwrap(), 90).unwrap();
        std::fs::write(class.join(format!("{number:03}.jpg")), jpeg).unwrap();
    }
}

/// A packed set of small pictures in a folder of its own, and room for runs beside it.
pub struct Lab {
    pub folder: TempDir,
    pub set: PathBuf,
}

impl Lab {
    pub fn new(count: u64) -> Self {
        Self::changed(count, |_| ())
    }

    /// Packs the pictures after `change` has been at their folder.
    pub fn changed(count: u64, change: impl Fn(&Path)) -> Self {
        let folder = TempDir::new().unwrap();
        let source = folder.path().join("pictures");
        pictures(&source, count);
        change(&source);
        let set = folder.path().join("set");
        let packed =
            run(Command::new(binary("mugs-shard")).args(["pack", "--samples-per-shard", "7"]).args([&source, &set]));
        assert!(packed.status.success(), "{}", text(&packed.stderr));
        Self { folder, set }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `train` of a tiny network with the default recipe: strong crops, erasing, stochastic depth.
    pub fn train(&self, run: &str, more: &[&str]) -> Command {
        let mut command = Command::new(binary("mugs-pipeline"));
        command.arg("train").arg("--data_path").arg(&self.set).arg("--output_dir").arg(self.path(run));
        command.args(TINY).args(more).env("OMP_NUM_THREADS", "1");
        command
    }
}

/// A network of some thousand weights that still has every part, on crops of 64 and 32 pixels.
pub const TINY: &[&str] = &[
    "--patch_size=16",
    "--embed_dim=32",
    "--depth=2",
    "--num_heads=2",
    "--head_hidden_dim=32",
    "--predictor_hidden_dim=32",
    "--instance_out_dim=16",
    "--instance_queue_size=32",
    "--local_group_out_dim=16",
    "--local_group_queue_size=32",
    "--local_group_knn_top_n=4",
    "--group_out_dim=32",
    "--group_bottleneck_dim=16",
    "--global_crops_size=64",
    "--size_crops=32",
    "--local_crops_number=2",
    "--epochs=3",
    "--warmup_epochs=1",
    "--batch_size_per_gpu=4",
    "--lr=0.05",
    "--threads=1",
    "--metrics_addr=off",
    "--drop_path_rate=0.2",
];

/// Runs to the end.
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// Starts and leaves running; the caller waits.
pub fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends a signal to a child.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}
