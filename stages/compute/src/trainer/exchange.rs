//! How gradients become those of all ranks: in buckets, begun while the backward pass still runs.
//!
//! The first step finds out which parameters have gradients. From then on these lie in buckets, so that nothing is
//! copied; a gradient larger than a bucket goes by itself. In the last backward pass of a step each bucket sets out as
//! soon as its gradients are whole and those before it have gone: the order is the same on all ranks. Hooks tell of
//! gradients that automatic differentiation brings, the trainer of those made by hand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mugs_torch_ext::{Unhook, hook_gradient, set_gradient};
use tch::{Kind, Tensor, no_grad_guard};

use crate::collective::{Collective, CollectiveError, Pending};
use crate::optim::Optimizer;

/// What the names of parameters begin with whose gradients [`Exchange::whole_block`] tells of.
const BLOCKS: &str = "backbone.blocks.";

/// The exchange of a trainer's gradients.
#[derive(Debug)]
pub(super) struct Exchange {
    group: Arc<dyn Collective>,
    bucket_bytes: usize,
    /// None before the first step.
    buckets: Option<Arc<Mutex<Buckets>>>,
    /// One for each parameter whose gradient automatic differentiation brings.
    hooks: Vec<Unhook>,
    waited: Duration,
}

#[derive(Debug)]
struct Buckets {
    group: Arc<dyn Collective>,
    list: Vec<Bucket>,
    /// The bucket of each parameter in the optimiser's order; none without a gradient.
    places: Vec<Option<usize>>,
    /// The bucket that sets out next.
    next: usize,
    /// Whether gradients are whole when they come.
    open: bool,
    under_way: Vec<Box<dyn Pending>>,
}

#[derive(Debug)]
struct Bucket {
    /// Parameters by their number.
    members: Vec<usize>,
    /// How many of them are not whole yet.
    missing: usize,
    /// All gradients in a row; of one that goes by itself that gradient, once it is whole.
    tensor: Option<Tensor>,
}

impl Exchange {
    pub(super) fn new(group: Arc<dyn Collective>, bucket_bytes: usize) -> Exchange {
        Exchange { group, bucket_bytes, buckets: None, hooks: Vec::new(), waited: Duration::ZERO }
    }

    pub(super) fn group(&self) -> &Arc<dyn Collective> {
        &self.group
    }

    /// Time spent waiting for other ranks so far, at the end of steps.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// Says that what comes next is the last backward pass of a step; `by_hand` are the gradients, by their parameters'
    /// numbers, that are whole already and that no backward pass brings.
    pub(super) fn begin_last(&self, by_hand: &[(usize, Tensor)]) -> Result<(), CollectiveError> {
        let Some(buckets) = &self.buckets else { return Ok(()) };
        let mut buckets = locked(buckets);
        buckets.open = true;
        by_hand.iter().try_for_each(|(parameter, gradient)| buckets.whole(*parameter, gradient))
    }

    /// Says that the gradients of a block of the backbone are whole, which were made by hand.
    pub(super) fn whole_block(&self, optimizer: &Optimizer, block: usize) -> Result<(), CollectiveError> {
        let Some(buckets) = &self.buckets else { return Ok(()) };
        let (mut buckets, prefix) = (locked(buckets), format!("{BLOCKS}{block}."));
        let parameters = optimizer.names().zip(optimizer.parameters()).enumerate();
        // The last one first, as they lie in their rows.
        let own: Vec<_> = parameters.filter(|(_, (name, _))| name.starts_with(&prefix)).collect();
        own.into_iter().rev().try_for_each(|(number, (_, parameter))| buckets.whole(number, &parameter.grad()))
    }

    /// Makes `gradients`, in the optimiser's order and undefined where there is none, the means over all ranks, in place.
    /// Waits for the other ranks.
    pub(super) fn finish(&mut self, optimizer: &Optimizer, gradients: &[Tensor]) -> Result<(), CollectiveError> {
        let _no_grad = no_grad_guard();
        let begun = Instant::now();
        let buckets = match &self.buckets {
            Some(buckets) => Arc::clone(buckets),
            None => self.lay_out(optimizer, gradients)?,
        };
        let done = locked(&buckets).finish(gradients);
        self.waited += begun.elapsed();
        done
    }

    /// Waits for everything that was begun, whatever comes of it: its memory is about to be used again.
    pub(super) fn settle(&self) {
        if let Some(buckets) = &self.buckets {
            let mut buckets = locked(buckets);
            buckets.open = false;
            buckets.under_way.drain(..).for_each(|pending| drop(pending.wait()));
            buckets.reset();
        }
    }

    /// Puts each gradient into a bucket, and has the backward passes add to it there.
    fn lay_out(&mut self, optimizer: &Optimizer, gradients: &[Tensor]) -> Result<Arc<Mutex<Buckets>>, CollectiveError> {
        let parameters = optimizer.parameters();
        // One that is not its parameter's own came by hand.
        let by_hand: Vec<bool> = (parameters.iter().zip(gradients))
            .map(|(parameter, gradient)| gradient.defined() && !is_own(parameter, gradient))
            .collect();
        let bytes: Vec<usize> = gradients.iter().map(bytes).collect();
        let (list, places) = plan(&bytes, &by_hand, self.bucket_bytes);
        let buckets = Buckets {
            group: Arc::clone(&self.group),
            next: 0,
            open: false,
            under_way: Vec::new(),
            list: list.into_iter().map(|members| Bucket { missing: members.len(), tensor: None, members }).collect(),
            places,
        };
        let buckets = Arc::new(Mutex::new(buckets));
        for bucket in &mut locked(&buckets).list {
            bucket.gather(&parameters, gradients).map_err(of_torch)?;
        }
        for (number, (name, parameter)) in optimizer.names().zip(parameters).enumerate() {
            if gradients[number].defined() && !by_hand[number] && !name.starts_with(BLOCKS) {
                let shared = Arc::clone(&buckets);
                let whole =
                    move |gradient: &Tensor| locked(&shared).whole(number, gradient).map_err(|error| error.to_string());
                self.hooks.push(hook_gradient(parameter, whole).map_err(of_torch)?);
            }
        }
        self.buckets = Some(Arc::clone(&buckets));
        Ok(buckets)
    }
}

impl Buckets {
    /// Takes note that a gradient is whole, and sends out what can go.
    fn whole(&mut self, parameter: usize, gradient: &Tensor) -> Result<(), CollectiveError> {
        let Some(place) = self.places[parameter].filter(|_| self.open) else { return Ok(()) };
        self.list[place].whole(gradient);
        self.send()
    }

    fn send(&mut self) -> Result<(), CollectiveError> {
        while let Some(Bucket { missing: 0, tensor: Some(tensor), .. }) = self.list.get(self.next) {
            self.under_way.push(self.group.start_all_reduce(tensor)?);
            self.next += 1;
        }
        Ok(())
    }

    fn finish(&mut self, gradients: &[Tensor]) -> Result<(), CollectiveError> {
        self.open = false;
        // What the passes did not bring in time, as in the first step.
        for bucket in &mut self.list[self.next..] {
            let own = bucket.members[0];
            bucket.missing = 0;
            bucket.tensor.get_or_insert_with(|| gradients[own].shallow_clone());
        }
        let sent = self.send();
        // All of them, whatever comes of the first: their memory is about to be used again.
        let waited: Vec<_> = self.under_way.drain(..).map(Pending::wait).collect();
        sent.and(waited.into_iter().collect::<Result<(), _>>())?;
        let ranks = self.group.world() as f64;
        for tensor in self.list.iter().filter_map(|bucket| bucket.tensor.as_ref()) {
            let _ = tensor.shallow_clone().g_div_scalar_(ranks);
        }
        self.reset();
        Ok(())
    }

    fn reset(&mut self) {
        self.next = 0;
        for bucket in &mut self.list {
            bucket.missing = bucket.members.len();
            if bucket.members.len() == 1 {
                bucket.tensor = None;
            }
        }
    }
}

impl Bucket {
    fn whole(&mut self, gradient: &Tensor) {
        self.missing = self.missing.saturating_sub(1);
        if self.members.len() == 1 {
            self.tensor = Some(gradient.shallow_clone());
        }
    }

    /// Lays several gradients into one row, each still its parameter's.
    fn gather(&mut self, parameters: &[&Tensor], gradients: &[Tensor]) -> Result<(), String> {
        if self.members.len() == 1 {
            return Ok(());
        }
        let all = || self.members.iter().map(|&member| &gradients[member]);
        let row = Tensor::cat(&all().map(|gradient| gradient.flatten(0, -1)).collect::<Vec<_>>(), 0);
        let mut start = 0;
        for (&member, gradient) in self.members.iter().zip(all()) {
            let length = gradient.numel() as i64;
            set_gradient(parameters[member], &row.narrow(0, start, length).view_as(gradient))?;
            start += length;
        }
        self.tensor = Some(row);
        Ok(())
    }
}

/// Which gradients of `bytes` bytes, 0 for none, go together: those made by hand first, each by itself, since they are
/// whole first; then the others as the backward pass brings them, the last parameter's first, in rows of about `most`
/// bytes. The members of each bucket, and the bucket of each gradient.
fn plan(bytes: &[usize], by_hand: &[bool], most: usize) -> (Vec<Vec<usize>>, Vec<Option<usize>>) {
    let mut list: Vec<Vec<usize>> =
        (0..bytes.len()).filter(|&number| by_hand[number]).map(|number| vec![number]).collect();
    let mut row = (Vec::new(), 0);
    for number in (0..bytes.len()).rev().filter(|&number| bytes[number] > 0 && !by_hand[number]) {
        if bytes[number] >= most {
            list.push(vec![number]);
            continue;
        }
        if row.1 + bytes[number] > most && !row.0.is_empty() {
            list.push(std::mem::take(&mut row).0);
        }
        row.0.push(number);
        row.1 += bytes[number];
    }
    list.extend((!row.0.is_empty()).then_some(row.0));
    let mut places = vec![None; bytes.len()];
    for (place, members) in list.iter().enumerate() {
        members.iter().for_each(|&member| places[member] = Some(place));
    }
    (list, places)
}

fn bytes(gradient: &Tensor) -> usize {
    if gradient.defined() { gradient.numel() * gradient.kind().elt_size_in_bytes() } else { 0 }
}

fn is_own(parameter: &Tensor, gradient: &Tensor) -> bool {
    let own = parameter.grad();
    own.defined() && own.kind() == Kind::Float && own.data_ptr() == gradient.data_ptr()
}

fn of_torch(message: String) -> CollectiveError {
    CollectiveError::Failed { operation: "laying out gradients", message }
}

fn locked(buckets: &Mutex<Buckets>) -> MutexGuard<'_, Buckets> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_go_in_rows_from_the_last_to_the_first() {
        //        0   1  2  3   4  5   6
        let bytes = [8, 40, 0, 24, 8, 8, 100];
        let hand = |numbers: &[usize]| (0..7).map(|number| numbers.contains(&number)).collect::<Vec<_>>();
        let (list, places) = plan(&bytes, &hand(&[]), 40);
        assert_eq!(list, [vec![6], vec![1], vec![5, 4, 3], vec![0]].map(|members| members));
        assert_eq!(places, [Some(3), Some(1), None, Some(2), Some(2), Some(2), Some(0)]);
        let (list, _) = plan(&bytes, &hand(&[0, 3]), 1000);
        assert_eq!(list, [vec![0], vec![3], vec![6, 5, 4, 1]]);
        assert_eq!(plan(&[], &[], 10), (vec![], vec![]));
    }
}
