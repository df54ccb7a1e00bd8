//! `step/adamw_w1_nl0_bn0`, iteration 0: losses and gradients of a whole training step, before clipping.

use mugs_compute::loss::{LOSS_NAMES, LossConfig, Losses};
use mugs_compute::memory::Memory;
use mugs_compute::model::{DropPath, Network, Outputs, Role};
use mugs_compute::named::NamedTensors;
use mugs_test_support::{golden, tally};
use tch::{Device, Tensor, set_num_threads};

use crate::common::{crops, json, tensors, tiny_config, tiny_network};

struct Step {
    student: Network,
    teacher: Network,
    memories: [Memory; 2],
    losses: Losses,
    images: NamedTensors,
}

impl Step {
    fn golden() -> Step {
        set_num_threads(1);
        let start = tensors(&golden("model/step/init_bn0.safetensors"));
        let config = LossConfig { instance_queue_size: 64, local_group_queue_size: 64, ..LossConfig::default() };
        let mut losses = Losses::new(&config, &tiny_config(), 0, Device::Cpu);
        losses.load(&start, |name| format!("{name}|")).unwrap();
        let memory = |name: &str| {
            let mut memory = Memory::new(name, 64, 48, 4, 0, Device::Cpu);
            memory.load(&start, &format!("{name}.")).unwrap();
            memory
        };
        let teacher = Network::blank(&tiny_config(), Role::Teacher, Device::Cpu).unwrap();
        teacher.params().load(&start, "student.").unwrap();
        Step {
            student: tiny_network(&tiny_config(), Role::Student, &start),
            teacher,
            memories: [memory("student_mem"), memory("teacher_mem")],
            losses,
            images: tensors(&golden("model/images.safetensors")),
        }
    }

    /// Losses and total of iteration 0, and what the student's and the teacher's heads said.
    fn run(&self) -> (Vec<f64>, Tensor, Outputs) {
        let [student_memory, teacher_memory] = &self.memories;
        let crops = |list: [i64; 2]| crops(&self.images, 0, 0, list);
        let off = DropPath::off();
        let teacher = self.teacher.forward(&crops([0, 1]), None, Some(teacher_memory), &off);
        let student = self.student.forward(&crops([2, 3]), Some(&crops([4, 5])), Some(student_memory), &off);
        let terms = self.losses.forward(&student, &teacher, 0.04);
        let values = terms.losses.iter().map(|loss| loss.as_ref().unwrap().double_value(&[])).collect();
        (values, terms.total, teacher)
    }

    fn gradients(&self) -> Vec<(&str, Tensor)> {
        self.student.params().iter().map(|param| (param.name.as_str(), param.tensor.grad())).collect()
    }
}

#[test]
fn losses_and_gradient_norms_of_a_step() {
    let step = Step::golden();
    let expected = &json("step/adamw_w1_nl0_bn0/manifest.json")["iterations"][0];
    let (losses, total, teacher) = step.run();
    for (name, loss) in LOSS_NAMES.iter().zip(losses) {
        let golden = expected[format!("loss {name}")].as_f64().unwrap();
        assert!((loss - golden).abs() <= 1e-5, "{name} {loss}, not {golden}");
    }
    let golden_total = expected["total_loss"].as_f64().unwrap();
    assert!((total.double_value(&[]) - golden_total).abs() <= 1e-5);
    assert!(!teacher.group.unwrap().requires_grad());

    total.backward();
    let norms = expected["grad_norms"].as_object().unwrap();
    for (name, gradient) in step.gradients() {
        let (norm, golden) = (gradient.norm().double_value(&[]), norms[name].as_f64().unwrap());
        assert!((norm - golden).abs() <= 3e-5, "{name}: {norm}, not {golden}");
    }
    assert_eq!(norms.len(), step.student.params().len());
    tally("step gradients", norms.len(), "tensors");
}

#[test]
fn one_thread_gives_the_same_bits_again() {
    let [first, second] = [(); 2].map(|()| {
        let step = Step::golden();
        let (losses, total, _) = step.run();
        total.backward();
        let bits = |(name, gradient): (&str, Tensor)| {
            let values = Vec::<f32>::try_from(gradient.flatten(0, -1)).unwrap();
            (name.to_owned(), values.into_iter().map(f32::to_bits).collect::<Vec<u32>>())
        };
        (losses, step.gradients().into_iter().map(bits).collect::<Vec<_>>())
    });
    assert!(first == second);
}
