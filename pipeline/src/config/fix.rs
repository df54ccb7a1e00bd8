//! `--fix`: quirks of the published code that a run mends. None unless asked for, since the published numbers came with
//! all of them. docs/method.md, "Mends", has the table.

use clap::ValueEnum;
use mugs_compute::Mends;
use serde::{Deserialize, Serialize};

use super::RunConfig;

/// A mend. The first line of each is what `--help` and the log say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Fix {
    /// A memory's pointer moves by the rows written (published: by twice as many, so half of the rows may stay random)
    MemoryPointer,
    /// A memory returns a row as what it was found by (published: a row not yet written is returned as another one)
    MemoryRows,
    /// A memory is searched with what it holds, the normed patch tokens' mean, which the relation block then sees too (published: with the mean of all tokens, before the norm)
    MemoryQuery,
    /// Each of --loss_weights multiplies its loss (published: they only switch losses on, and divide)
    LossWeights,
    /// No initial weight is cut from minus infinity (published: one in 16.8 million is -2, 100 sigma)
    InitialTail,
    /// cls_token, pos_embed and gains that learn are not decayed (published: they are)
    DecayTokens,
    /// --prob is the probability of STRONG augmentation, as its published help says (published: of weak)
    StrongProb,
    /// `inc0` in --timm_auto_augment_par switches the increasing set off (published: on)
    PolicyInc,
    /// With --use_prefetcher false crops are normalised once, then erased (published: and then normalised again)
    NormaliseOnce,
}

impl Fix {
    /// The name that options and files have.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it does, in words.
    pub fn what(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| Some(value.get_help()?.to_string())).unwrap_or_default()
    }
}

impl RunConfig {
    /// Whether the quirk is mended.
    pub fn mends(&self, fix: Fix) -> bool {
        self.fix.contains(&fix)
    }

    /// The mends of network, losses, memories and optimiser.
    pub(super) fn compute_mends(&self) -> Mends {
        Mends {
            memory_pointer: self.mends(Fix::MemoryPointer),
            memory_rows: self.mends(Fix::MemoryRows),
            memory_query: self.mends(Fix::MemoryQuery),
            loss_weights: self.mends(Fix::LossWeights),
            initial_tail: self.mends(Fix::InitialTail),
            decay_tokens: self.mends(Fix::DecayTokens),
        }
    }

    /// The probability of weak augmentation.
    pub(super) fn weak_probability(&self) -> f64 {
        if self.mends(Fix::StrongProb) { 1.0 - self.prob } else { self.prob }
    }

    /// The policy of strong crops, as the crop stage reads it: there any `inc` with a digit switches on.
    pub(super) fn policy(&self) -> String {
        let off = |part: &&str| part.strip_prefix("inc").and_then(|value| value.parse().ok()) == Some(0_u32);
        match self.mends(Fix::PolicyInc) {
            true => self.timm_auto_augment_par.split('-').filter(|part| !off(part)).collect::<Vec<_>>().join("-"),
            false => self.timm_auto_augment_par.clone(),
        }
    }

    /// Says which quirks the run mends.
    pub fn announce_mends(&self) {
        for fix in &self.fix {
            tracing::info!("--fix {}: {}", fix.name(), fix.what());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers::tests::resolved;
    use super::*;

    #[test]
    fn nothing_is_mended_unless_asked_for() {
        let config = resolved(&[]).unwrap();
        assert!(config.fix.is_empty());
        assert_eq!(config.model().unwrap().mends, Mends::default());
        let crops = config.crops().unwrap();
        assert_eq!((crops.prob, &*crops.timm_auto_augment_par), (0.5, "rand-m9-mstd0.5-inc1"));
    }

    #[test]
    fn mends_come_by_flag_file_and_set_in_any_order() {
        let expected = [Fix::MemoryPointer, Fix::LossWeights];
        for arguments in [
            &["--fix", "loss_weights", "--fix", "memory_pointer"][..],
            &["--fix", "memory_pointer,loss_weights"],
            &["--fix", "loss_weights", "memory_pointer", "loss_weights"],
            &["--set", "fix=loss_weights memory_pointer"],
            &["--set", "fix=[\"memory_pointer\", \"loss_weights\"]"],
            &["--set", "fix=decay_tokens", "--fix", "memory_pointer,loss_weights"],
        ] {
            let config = resolved(arguments).unwrap();
            assert_eq!(config.fix, expected, "{arguments:?}");
            let mends = Mends { memory_pointer: true, loss_weights: true, ..Mends::default() };
            assert_eq!(config.model().unwrap().mends, mends, "{arguments:?}");
        }
        for wrong in [["--fix", "memory_pointr"], ["--set", "fix=memory_pointr"]] {
            let error = resolved(&wrong).unwrap_err().to_string();
            assert!(error.contains("memory_pointr") && error.contains("memory_pointer"), "{error}");
        }
    }

    #[test]
    fn mends_of_the_crops_reach_the_crop_stage() {
        let crops = |arguments: &[&str]| resolved(arguments).unwrap().crops().unwrap();
        assert_eq!(crops(&["--prob", "0.2", "--fix", "strong_prob"]).prob, 0.8);
        assert_eq!(crops(&["--prob", "0.2"]).prob, 0.2);
        let policy = |text: &str| {
            let crops = crops(&["--timm_auto_augment_par", text, "--fix", "policy_inc"]);
            crops.timm_auto_augment_par
        };
        assert_eq!(policy("rand-m9-inc0-mstd0.5"), "rand-m9-mstd0.5");
        assert_eq!(policy("rand-m9-inc1"), "rand-m9-inc1");
        assert_eq!(crops(&["--timm_auto_augment_par", "rand-m9-inc0"]).timm_auto_augment_par, "rand-m9-inc0");
    }

    #[test]
    fn the_docs_list_every_mend_and_no_other() {
        let docs = include_str!("../../../docs/method.md");
        let (_, section) = docs.split_once("## 9. Mends").unwrap();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let names: Vec<String> = Fix::value_variants().iter().map(|fix| fix.name()).collect();
        assert_eq!(rows.collect::<Vec<_>>(), names);
        assert!(Fix::value_variants().iter().all(|fix| fix.what().contains("(published: ")));
    }
}
