//! Gradients set out while the backward pass still runs, those that are made by hand included.

use std::sync::{Arc, Mutex};

use mugs_compute::collective::{Collective, CollectiveError, Pending};
use mugs_compute::model::ModelConfig;
use tch::{Device, Tensor};

use crate::tiny::{images, input, model_config, schedules, trainer};

/// The other of two ranks answers at once; its gradients are 0.
#[derive(Debug, Default)]
struct Twin {
    /// A gradient that is whole late.
    late: Mutex<Option<Tensor>>,
    /// Where each row of gradients lay that set out, what it was, and what the late one was then.
    seen: Mutex<Vec<(usize, Tensor, Tensor)>>,
}

#[derive(Debug)]
struct Done;

impl Pending for Done {
    fn wait(self: Box<Self>) -> Result<(), CollectiveError> {
        Ok(())
    }
}

impl Collective for Twin {
    fn rank(&self) -> usize {
        0
    }

    fn world(&self) -> usize {
        2
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn backend(&self) -> String {
        "twin".into()
    }

    fn all_reduce(&self, _: &Tensor) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn start_all_reduce(&self, tensor: &Tensor) -> Result<Box<dyn Pending>, CollectiveError> {
        if let Some(late) = &*self.late.lock().unwrap() {
            self.seen.lock().unwrap().push((tensor.data_ptr() as usize, tensor.copy(), late.copy()));
        }
        Ok(Box::new(Done))
    }

    fn all_gather(&self, tensor: &Tensor) -> Result<Vec<Tensor>, CollectiveError> {
        Ok(vec![tensor.copy(), tensor.copy()])
    }

    fn broadcast(&self, _: &Tensor, _: usize) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn abort(&self) {}
}

#[test]
fn gradients_set_out_as_soon_as_they_are_whole() {
    for (checkpoint_activations, use_bn_in_head) in [(false, false), (true, false), (false, true)] {
        let model = ModelConfig { checkpoint_activations, use_bn_in_head, ..model_config(use_bn_in_head) };
        let (twin, mut shared) = (Arc::new(Twin::default()), trainer(&model));
        let group: Arc<dyn Collective> = twin.clone();
        shared.share(&group, 20_000);
        for step in 0..2 {
            if step == 1 {
                // Where gradients lie is known after a first step. The first block's are whole after those of all others.
                let first = "backbone.blocks.0.mlp.fc1.weight";
                *twin.late.lock().unwrap() = Some(shared.student().params().get(first).unwrap().tensor.grad());
            }
            shared.step(&input(&images(), step), &schedules().at(0, step)).unwrap();
        }
        let seen = twin.seen.lock().unwrap();
        let gradient = |name: &str| shared.student().params().get(name).unwrap().tensor.grad();
        // Each is the first of its row; one is made by hand, the other brought by a graph.
        for name in ["backbone.blocks.1.attn.qkv.weight", "instance_head.projector.0.weight"] {
            let place = gradient(name).data_ptr() as usize;
            let sent: Vec<_> = seen.iter().filter(|(row, ..)| *row == place).collect();
            let [(_, row, late)] = sent[..] else { panic!("{name} set out {} times", sent.len()) };
            assert_ne!(*late, seen.last().unwrap().2, "{name} waited for the first block, {model:?}");
            let own = row.flatten(0, -1).narrow(0, 0, gradient(name).numel() as i64).view_as(&gradient(name));
            assert_eq!(own / 2.0, gradient(name), "{name} was not whole, {model:?}");
        }
    }
}
