//! Wrong trainers: mistakes that a re-implementation makes easily, to show that the golden runs notice each of them.
//! They exist in test builds only; elsewhere [`active`] is false at compile time.

#[cfg(test)]
use std::cell::Cell;

use tch::Tensor;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The teacher's keys enter the queues, and its logits the centre, before the losses are computed.
    QueueFirst,
    /// Large student crops are compared with the teacher's crop of their own number too.
    SamePair,
    /// The teacher follows the student before the student's step.
    AverageFirst,
    /// The centre is added to the teacher's logits.
    CenterSign,
    /// The student's memory takes strong images too.
    WeakIgnored,
    /// Biases and norms are decayed.
    BiasDecay,
    /// Gradients are clipped by the norm of all of them together.
    GlobalClip,
}

#[cfg(test)]
thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Whether this thread's trainer makes the mistake.
#[inline]
pub(crate) fn active(mutant: Mutant) -> bool {
    #[cfg(test)]
    return ACTIVE.get() == Some(mutant);
    #[cfg(not(test))]
    {
        let _ = mutant;
        false
    }
}

/// What all gradients are multiplied by where their common norm is limited.
pub(crate) fn factor_of_all(gradients: &[Tensor], limit: f64) -> f64 {
    let squares = gradients.iter().filter(|gradient| gradient.defined()).map(|g| g.norm().double_value(&[]).powi(2));
    (limit / squares.sum::<f64>().sqrt()).min(1.0)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::run::Run;

    /// What the golden run says of a mistake; none if it notices nothing.
    fn noticed(mutant: Option<Mutant>) -> Option<String> {
        ACTIVE.set(mutant);
        let run = || Run::new("adamw_w1_nl0_bn0", &["after_1", "after_2_student", "grads_1"]).all();
        let outcome = catch_unwind(AssertUnwindSafe(run));
        ACTIVE.set(None);
        outcome.err().map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    #[test]
    fn the_golden_run_notices_every_mistake() {
        assert_eq!(noticed(None), None);
        for (mutant, by) in [
            (Mutant::QueueFirst, "iteration 0"),
            (Mutant::SamePair, "iteration 0"),
            (Mutant::AverageFirst, "iteration 2"),
            (Mutant::CenterSign, "iteration 0"),
            (Mutant::WeakIgnored, "iteration 0"),
            (Mutant::BiasDecay, "iteration 0: 0.04"),
            (Mutant::GlobalClip, "60 of 60"),
        ] {
            let said = noticed(Some(mutant)).unwrap_or_else(|| panic!("{mutant:?} is not noticed"));
            assert!(said.contains(by), "{mutant:?} is noticed by: {said}");
        }
        mugs_test_support::tally("wrong trainers", 7, "noticed");
    }
}
