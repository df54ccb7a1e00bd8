//! Ranks on CPUs, joined by libtorch's own Gloo.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mugs_torch_ext::{Address, Gloo, GlooError, GlooWork, TcpStore};
use tch::{Device, Tensor};

use super::{Collective, CollectiveError, Pending};

/// A group over Gloo.
#[derive(Debug)]
pub struct GlooRanks {
    /// Left alone after a failure: freeing it would wait for what is under way.
    gloo: ManuallyDrop<Gloo>,
    rank: usize,
    world: usize,
    timeout: Duration,
    broken: Arc<AtomicBool>,
}

impl GlooRanks {
    /// Meets the other ranks at `store` under `prefix`; they reach this one at `address`. No call takes longer than
    /// `timeout`.
    ///
    /// # Errors
    /// Not all come in time, or they cannot reach each other.
    pub fn connect(
        store: &TcpStore,
        prefix: &str,
        [rank, world]: [usize; 2],
        timeout: Duration,
        address: &Address,
    ) -> Result<GlooRanks, CollectiveError> {
        let gloo = Gloo::connect(store, prefix, [rank, world], timeout, address)
            .map_err(|message| translate("meeting", GlooError::Failed(message), timeout))?;
        Ok(GlooRanks { gloo: ManuallyDrop::new(gloo), rank, world, timeout, broken: Arc::default() })
    }

    fn start(
        &self,
        operation: &'static str,
        begin: impl FnOnce(&Gloo) -> Result<GlooWork, GlooError>,
    ) -> Result<Work, CollectiveError> {
        if self.broken.load(Ordering::Acquire) {
            return Err(CollectiveError::Aborted { operation });
        }
        match begin(&self.gloo) {
            Ok(work) => Ok(Work { work, operation, timeout: self.timeout, broken: Arc::clone(&self.broken) }),
            Err(error) => {
                self.broken.store(true, Ordering::Release);
                Err(translate(operation, error, self.timeout))
            }
        }
    }

    fn run(
        &self,
        operation: &'static str,
        begin: impl FnOnce(&Gloo) -> Result<GlooWork, GlooError>,
    ) -> Result<(), CollectiveError> {
        self.start(operation, begin)?.finish()
    }
}

impl Collective for GlooRanks {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn backend(&self) -> String {
        "gloo".to_owned()
    }

    fn all_reduce(&self, tensor: &Tensor) -> Result<(), CollectiveError> {
        self.run("all-reduce", |gloo| gloo.all_reduce(tensor))
    }

    fn start_all_reduce(&self, tensor: &Tensor) -> Result<Box<dyn Pending>, CollectiveError> {
        Ok(Box::new(self.start("all-reduce", |gloo| gloo.all_reduce(tensor))?))
    }

    fn all_gather(&self, tensor: &Tensor) -> Result<Vec<Tensor>, CollectiveError> {
        let own = tensor.contiguous();
        let shape = [&[self.world as i64], &own.size()[..]].concat();
        let all = Tensor::empty(shape, (own.kind(), own.device()));
        self.run("all-gather", |gloo| gloo.all_gather(&own, &all))?;
        Ok(all.unbind(0))
    }

    fn broadcast(&self, tensor: &Tensor, root: usize) -> Result<(), CollectiveError> {
        self.run("broadcast", |gloo| gloo.broadcast(tensor, root))
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        let one = Tensor::ones([1], (tch::Kind::Int64, tch::Device::Cpu));
        self.run("barrier", |gloo| gloo.all_reduce(&one))
    }

    fn abort(&self) {
        self.broken.store(true, Ordering::Release);
        self.gloo.abort();
    }
}

impl Drop for GlooRanks {
    fn drop(&mut self) {
        if !self.broken.load(Ordering::Acquire) {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.gloo) }
        }
    }
}

#[derive(Debug)]
struct Work {
    work: GlooWork,
    operation: &'static str,
    timeout: Duration,
    /// The group's.
    broken: Arc<AtomicBool>,
}

impl Work {
    fn finish(self) -> Result<(), CollectiveError> {
        let Work { work, operation, timeout, broken } = self;
        work.wait().map_err(|error| {
            broken.store(true, Ordering::Release);
            translate(operation, error, timeout)
        })
    }
}

impl Pending for Work {
    fn wait(self: Box<Self>) -> Result<(), CollectiveError> {
        self.finish()
    }
}

fn translate(operation: &'static str, error: GlooError, timeout: Duration) -> CollectiveError {
    match error {
        GlooError::Aborted => CollectiveError::Aborted { operation },
        GlooError::Failed(message) if message.to_lowercase().contains("timed out") => {
            CollectiveError::TimedOut { operation, seconds: timeout.as_secs_f64().ceil() as u64 }
        }
        GlooError::Failed(message) => CollectiveError::Failed { operation, message: without_source(&message) },
    }
}

/// A message without the place in Gloo's source that it begins with.
fn without_source(message: &str) -> String {
    match message.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, rest)) => rest.to_owned(),
        None => message.to_owned(),
    }
}
