//! The teacher as a running average of the student.

use tch::{Tensor, no_grad_guard};

use crate::model::Network;

/// The parameters that teacher and student both have.
#[derive(Debug)]
pub(super) struct Average {
    /// Teacher's, student's; both shared with their networks.
    pairs: Vec<(Tensor, Tensor)>,
}

impl Average {
    /// Pairs parameters by name. The student's predictors have no partner.
    pub(super) fn new(teacher: &Network, student: &Network) -> Average {
        let pair = |param: &crate::model::Param| {
            let student = student.params().get(&param.name)?;
            Some((param.tensor.shallow_clone(), student.tensor.detach()))
        };
        // Running statistics of a BatchNorm are each network's own.
        Average { pairs: teacher.params().iter().filter(|param| !param.buffer).filter_map(pair).collect() }
    }

    /// teacher ← momentum · teacher + (1 − momentum) · student.
    pub(super) fn update(&mut self, momentum: f64) {
        let _no_grad = no_grad_guard();
        for (teacher, student) in &mut self.pairs {
            let _ = teacher.g_mul_scalar_(momentum).g_add_(&(&*student * (1.0 - momentum)));
        }
    }
}
