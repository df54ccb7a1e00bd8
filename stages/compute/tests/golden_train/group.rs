//! Ranks for tests: processes of this very test, or threads, joined by Gloo.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mugs_compute::collective::Collective;
use mugs_compute::collective::gloo::GlooRanks;
use mugs_torch_ext::{Address, TcpStore};

const TIMEOUT: Duration = Duration::from_secs(120);
const RANK: &str = "MUGS_TEST_RANK";
const PORT: &str = "MUGS_TEST_PORT";

fn join(port: u16, rank: usize, world: usize, timeout: Duration) -> Arc<dyn Collective> {
    let store = TcpStore::connect("127.0.0.1", port, false, TIMEOUT).unwrap();
    let address = Address::Host("127.0.0.1".into());
    Arc::new(GlooRanks::connect(&store, "test", [rank, world], timeout, &address).unwrap())
}

/// Runs `rank` in `world` processes of their own, each of which runs nothing but the test called `test`. In the test's
/// own process it returns when all have ended well.
pub fn processes(test: &str, world: usize, rank: impl FnOnce(&Arc<dyn Collective>)) {
    if let (Ok(number), Ok(port)) = (std::env::var(RANK), std::env::var(PORT)) {
        return rank(&join(port.parse().unwrap(), number.parse().unwrap(), world, TIMEOUT));
    }
    let store = TcpStore::connect("127.0.0.1", 0, true, TIMEOUT).unwrap();
    let start = |number: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        command.env(RANK, number.to_string()).env(PORT, store.port().to_string());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started: Vec<_> = (0..world).map(start).collect();
    for (number, child) in started.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "rank {number} of {test}:\n{text}");
        assert!(text.contains("1 passed"), "no test is called {test}:\n{text}");
    }
}

/// Runs `rank` in `world` threads, and gives what each gives.
pub fn threads<T: Send>(world: usize, rank: impl Fn(&Arc<dyn Collective>) -> T + Sync) -> Vec<T> {
    let store = TcpStore::connect("127.0.0.1", 0, true, TIMEOUT).unwrap();
    let (port, rank) = (store.port(), &rank);
    std::thread::scope(|scope| {
        let start = |number| scope.spawn(move || rank(&join(port, number, world, TIMEOUT)));
        let started: Vec<_> = (0..world).map(start).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
