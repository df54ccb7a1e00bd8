//! A run stopped in every way goes on with the very next batch: its last checkpoint is the undisturbed run's.

use std::io::Read as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant, SystemTime};

use mugs_compute::checkpoint::Checkpoint;
use mugs_compute::state::TrainState;
use tch::Tensor;

use crate::support::{Lab, run, signal, start, text};

/// Five steps an epoch, three epochs.
const PICTURES: u64 = 23;

#[test]
fn a_run_stopped_in_every_way_ends_with_the_same_checkpoint() {
    let lab = Lab::new(PICTURES);
    let whole = run(&mut lab.train("whole", &["--num_workers=2"]));
    assert!(whole.status.success(), "{}", text(&whole.stderr));

    // Stopped inside the first epoch, three workers.
    let first = run(&mut lab.train("parts", &["--max-steps=3", "--num_workers=3"]));
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(place(&lab.path("parts")), (0, 3));
    // Killed between two checkpoints.
    kill_after_a_checkpoint(&lab, &["--save-every-steps=2", "--num_workers=3", "--max_steps=9"]);
    // Stopped exactly between two epochs.
    let second = run(&mut lab.train("parts", &["--max_steps=10", "--num_workers=1"]));
    assert!(second.status.success(), "{}", text(&second.stderr));
    assert_eq!(place(&lab.path("parts")), (2, 0));
    // Ended by SIGTERM wherever it is, then by SIGINT, then left alone.
    stop_by_signal(&lab, "TERM", 143);
    stop_by_signal(&lab, "INT", 130);
    let last = run(&mut lab.train("parts", &["--num_workers=1"]));
    assert!(last.status.success(), "{}", text(&last.stderr));

    same_checkpoints(&lab.path("whole"), &lab.path("parts"));
    assert_eq!(epochs_logged(&lab.path("whole")), epochs_logged(&lab.path("parts")));
    assert_eq!(epochs_logged(&lab.path("whole")).len(), 3);
}

/// Two micro-batches of two pictures are a step of four, and a run may change from one to the other.
#[test]
fn accumulated_micro_batches_train_like_one_batch() {
    let lab = Lab::new(PICTURES);
    let halves = ["--batch_size_per_gpu=2", "--accumulate=2"];
    for (name, runs) in [("whole", [&[][..], &[]]), ("halves", [&halves[..], &halves]), ("mixed", [&[], &halves])] {
        for (stop, options) in ["--max_steps=4", "--max_steps=10"].into_iter().zip(runs) {
            let output = run(lab.train(name, &[stop]).args(options));
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
    }
    let losses = |name: &str| -> Vec<f64> {
        let log = std::fs::read_to_string(lab.path(name).join("log.txt")).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.map(|line| line["loss"].as_f64().unwrap()).collect()
    };
    let whole = losses("whole");
    assert_eq!(whole.len(), 2);
    for name in ["halves", "mixed"] {
        for (expected, found) in whole.iter().zip(losses(name)) {
            assert!((expected - found).abs() < 1e-3, "{name}: {found}, not {expected}");
        }
    }
    let wrong = run(&mut lab.train("whole", &["--accumulate=3"]));
    let message = text(&wrong.stderr);
    assert!(
        !wrong.status.success() && message.contains("--batch_size_per_gpu times --accumulate must be 4"),
        "{message}"
    );
}

/// Waits until a file of the run is written anew.
pub struct Change {
    path: std::path::PathBuf,
    before: Option<SystemTime>,
}

impl Change {
    pub fn of(path: std::path::PathBuf) -> Self {
        let before = modified(&path);
        Self { path, before }
    }

    /// As [`wait`](Self::wait), for a file that this process must write before it ends.
    pub fn wait_for(&self, child: &mut Child) {
        let begun = Instant::now();
        while modified(&self.path) == self.before {
            let ended = child.try_wait().unwrap();
            if ended.is_some() || begun.elapsed() > Duration::from_secs(120) {
                child.kill().unwrap();
                let mut said = String::new();
                child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("{} is not written, and the process is {ended:?}: {said}", self.path.display());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn wait(&self) {
        let begun = Instant::now();
        while modified(&self.path) == self.before {
            assert!(begun.elapsed() < Duration::from_secs(120), "{} is not written", self.path.display());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// Waits for a checkpoint that the process writes, and kills it at once: it is somewhere behind that checkpoint, but
/// not past its last step, however late the kill comes.
fn kill_after_a_checkpoint(lab: &Lab, options: &[&str]) {
    let checkpoint = Change::of(lab.path("parts").join("checkpoint.pth"));
    let mut child = start(&mut lab.train("parts", options));
    checkpoint.wait();
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Ends a run by a signal as soon as it has begun (its log is opened then), unless it was faster.
fn stop_by_signal(lab: &Lab, name: &str, code: i32) {
    let log = Change::of(lab.path("parts").join("log.txt"));
    let child = start(&mut lab.train("parts", &["--num_workers=2"]));
    log.wait();
    signal(&child, name);
    let output = child.wait_with_output().unwrap();
    let ended = output.status.code();
    assert!(ended == Some(code) || ended == Some(0), "{ended:?}: {}", text(&output.stderr));
    Checkpoint::read(&lab.path("parts").join("checkpoint.pth")).unwrap();
}

#[test]
fn a_signal_ends_a_run_with_a_checkpoint_and_its_own_code() {
    let lab = Lab::new(PICTURES);
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        // Far more epochs than the test waits for.
        let options = ["--epochs=100000", "--saveckp_freq=0", "--seed=5"];
        let checkpoint = Change::of(lab.path(name).join("checkpoint.pth"));
        let child = start(&mut lab.train(name, &options));
        checkpoint.wait();
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(&format!("stopped by SIG{name}")), "{}", text(&output.stderr));
        let (epoch, step) = place(&lab.path(name));
        assert!(epoch > 0 || step > 0);
    }
}

#[test]
fn sigusr1_writes_a_checkpoint_and_goes_on() {
    let lab = Lab::new(PICTURES);
    let log = Change::of(lab.path("run").join("log.txt"));
    let options = ["--batch_size_per_gpu=1", "--epochs=100000", "--max_steps=100000", "--keep=1000"];
    let mut child = start(&mut lab.train("run", &options));
    log.wait();
    // Without a signal all checkpoints are of an epoch's end, as is one that is asked for in an epoch's last step.
    let begun = Instant::now();
    let mut asked = 0;
    while !has_a_checkpoint_inside_an_epoch(&lab.path("run"), PICTURES) {
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint is inside an epoch");
        if begun.elapsed() >= Duration::from_secs(2) * asked {
            signal(&child, "USR1");
            asked += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(child.try_wait().unwrap(), None, "it goes on");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Looks at the last checkpoint, and at the names of those before it, which tell the steps done.
fn has_a_checkpoint_inside_an_epoch(run: &Path, steps: u64) -> bool {
    let inside = |name: &str| {
        let number = name.strip_prefix("checkpoint-step").and_then(|rest| rest.strip_suffix(".pth"));
        number.is_some_and(|number| number.parse::<u64>().unwrap() % steps != 0)
    };
    let mut names = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name());
    names.any(|name| inside(name.to_str().unwrap())) || (run.join("checkpoint.pth").exists() && place(run).1 > 0)
}

#[test]
fn drift_is_refused_by_name_and_free_options_may_change() {
    let lab = Lab::new(PICTURES);
    assert!(run(&mut lab.train("run", &["--max_steps=1"])).status.success());
    let refused = run(&mut lab.train("run", &["--lr=0.01", "--prob=0.25"]));
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("lr: 0.05 -> 0.01") && said.contains("prob: 0.5 -> 0.25"), "{said}");
    let batch = run(&mut lab.train("run", &["--batch_size_per_gpu=2"]));
    let way_out = "--batch_size_per_gpu times --accumulate must be 4";
    assert!(text(&batch.stderr).contains(way_out), "{}", text(&batch.stderr));
    assert!(run(&mut lab.train("run", &["--max_steps=2", "--num_workers=3", "--save_every_steps=1"])).status.success());
    assert_eq!(place(&lab.path("run")), (0, 2));
}

#[test]
fn drift_that_is_allowed_passes_with_a_warning_and_is_the_run_s_from_then_on() {
    let lab = Lab::new(PICTURES);
    assert!(run(&mut lab.train("run", &["--max_steps=1"])).status.success());
    let changed = ["--lr=0.01", "--epochs=4", "--max_steps=2"];
    let refused = run(lab.train("run", &changed).args(["--allow_drift", "epochs"]));
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("lr: 0.05 -> 0.01") && said.contains("--allow_drift lr"), "{said}");
    assert!(!said.contains("epochs: 3 -> 4"), "{said}");
    let passed = run(lab.train("run", &changed).args(["--allow_drift", "epochs", "--allow-drift", "lr"]));
    let said = text(&passed.stderr);
    assert!(passed.status.success(), "{said}");
    for part in ["another lr: 0.05 until now, 0.01 from here on", "another epochs: 3 until now, 4 from here on"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(place(&lab.path("run")), (0, 2));
    // Now they are the run's own.
    let on = run(lab.train("run", &["--lr=0.01", "--epochs=4"]).arg("--max_steps=3"));
    assert!(on.status.success() && !text(&on.stderr).contains("until now"), "{}", text(&on.stderr));
    for (wrong, code, sentence) in [
        ("group_out_dim", 2, "group_out_dim cannot change within a run: the weights of the checkpoint would not fit"),
        ("seed", 2, "the checkpoint's position would mean other pictures"),
        ("learning_rate", 2, "there is no option `learning_rate`"),
    ] {
        let refused = run(lab.train("run", &[]).args(["--allow_drift", wrong]));
        assert_eq!(refused.status.code(), Some(code));
        assert!(text(&refused.stderr).contains(sentence), "{}", text(&refused.stderr));
    }
}

#[test]
fn other_data_are_refused() {
    let (lab, other) = (Lab::new(PICTURES), Lab::new(PICTURES + 1));
    assert!(run(&mut lab.train("run", &["--max_steps=1"])).status.success());
    let mut command = lab.train("run", &[]);
    let refused = run(command.arg("--data_path").arg(&other.set));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("another data set"), "{}", text(&refused.stderr));
}

pub fn place(run: &Path) -> (u64, u64) {
    let mugs = Checkpoint::read(&run.join("checkpoint.pth")).unwrap().mugs;
    (mugs.epoch, mugs.step)
}

pub fn epochs_logged(run: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(run.join("log.txt")).unwrap();
    log.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect()
}

pub fn same_checkpoints(a: &Path, b: &Path) {
    let [a, b] = [a, b].map(|run| Checkpoint::read(&run.join("checkpoint.pth")).unwrap());
    assert_eq!((a.mugs.epoch, a.mugs.step, &a.mugs.sums), (b.mugs.epoch, b.mugs.step, &b.mugs.sums));
    let (a, b) = (tensors(&a.state), tensors(&b.state));
    assert!(a.len() > 100, "{}", a.len());
    assert_eq!(a.len(), b.len());
    for ((name, a), (other, b)) in a.iter().zip(&b) {
        assert_eq!(name, other);
        assert!(a.equal(b), "{name} differs");
    }
}

/// All tensors of a state by name.
fn tensors(state: &TrainState) -> Vec<(String, Tensor)> {
    let mut all = Vec::new();
    let parts = [
        ("student", &state.student),
        ("teacher", &state.teacher),
        ("student_mem", &state.student_memory),
        ("teacher_mem", &state.teacher_memory),
    ];
    let losses = state.losses.iter().map(|(name, tensors)| (name.as_str(), tensors));
    for (part, tensors) in parts.into_iter().chain(losses) {
        all.extend(tensors.iter().map(|(name, tensor)| (format!("{part}.{name}"), tensor.shallow_clone())));
    }
    for (name, moments) in &state.optimizer.moments {
        all.push((format!("{name}.exp_avg"), moments.exp_avg.shallow_clone()));
        all.push((format!("{name}.exp_avg_sq"), moments.exp_avg_sq.shallow_clone()));
        all.push((format!("{name}.step"), Tensor::from(moments.step)));
    }
    all
}
