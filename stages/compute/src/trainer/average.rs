//! The teacher as a running average of the student.

use tch::{Tensor, no_grad_guard};

use crate::model::Network;
use crate::optim::pieces;

/// The parameters that teacher and student both have.
#[derive(Debug)]
pub(super) struct Average {
    /// Teacher's, student's; both shared with their networks, long ones in pieces.
    pairs: Vec<[Tensor; 2]>,
}

impl Average {
    /// Pairs parameters by name. The student's predictors have no partner.
    pub(super) fn new(teacher: &Network, student: &Network) -> Average {
        let pair = |param: &crate::model::Param| {
            let student = student.params().get(&param.name)?;
            Some(pieces([&param.tensor, &student.tensor.detach()]))
        };
        // Running statistics of a BatchNorm are each network's own.
        let params = teacher.params().iter().filter(|param| !param.buffer);
        Average { pairs: params.filter_map(pair).flatten().collect() }
    }

    /// teacher ← momentum · teacher + (1 − momentum) · student.
    pub(super) fn update(&mut self, momentum: f64) {
        let _no_grad = no_grad_guard();
        for [teacher, student] in &mut self.pairs {
            let _ = teacher.g_mul_scalar_(momentum).g_add_(&(&*student * (1.0 - momentum)));
        }
    }
}
