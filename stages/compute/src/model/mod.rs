//! The student and the teacher: a backbone and three heads.

mod config;
mod gradients;
mod heads;
mod init;
mod last_layer;
mod layers;
mod params;
mod precision;
mod quantile;
mod relation;
mod sync_norm;
mod vit;

use std::sync::Arc;

use tch::{Device, TchError, Tensor, no_grad_guard};

pub use config::{Arch, ConfigError, ModelConfig};
pub use heads::{ContrastiveHead, GroupHead};
pub use init::Init;
pub(crate) use init::Source;
pub use last_layer::{LastLayer, LastLayerCall, LastLayerGradient, LastLayerShare};
pub use layers::unit_length;
pub use params::{Param, Params};
pub use precision::Precision;
pub use relation::RelationBlock;
pub use vit::{Backbone, Block, Branch, DropPath, Kept, Site};

use crate::collective::Collective;
use crate::memory::Memory;
use params::Builder;

/// What a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Trained by gradients; has predictors.
    Student,
    /// Follows the student; no predictors, no gradients.
    Teacher,
}

/// What the heads say about a batch. Rows are crop-major: crop first, then image, large crops before small ones. A head
/// whose loss is switched off says nothing.
#[derive(Debug)]
pub struct Outputs {
    /// Unit vectors `[rows, instance_out_dim]`.
    pub instance: Option<Tensor>,
    /// Unit vectors `[rows, local_group_out_dim]`.
    pub local_group: Option<Tensor>,
    /// Logits `[rows, group_out_dim]`.
    pub group: Option<Tensor>,
    /// Where the logits have no graph because the last layer's backward pass is by hand: what it needs.
    pub last_layer: Option<LastLayerCall>,
    /// Where the graph begins at the blocks' outputs: what [`Network::back`] needs.
    pub kept: Vec<Kept>,
    /// Mean patch tokens of the large crops, what a memory is filled with: `[large rows, D]`, never with a gradient. No
    /// rows where there are no large crops.
    pub patch_mean: Tensor,
}

/// Equally sized crops on their way through a student in training.
#[derive(Debug)]
pub struct CropSet {
    /// Normalised float32 pixels, `[n·B, 3, S, S]`, crop first, then image.
    pub pixels: Tensor,
    /// Whether they are large ones.
    pub large: bool,
    /// The number of the first one among all crops of the student, which stochastic depth is drawn for.
    pub first: usize,
}

/// A backbone with the heads that the configuration asks for.
#[derive(Debug)]
pub struct Network {
    role: Role,
    /// Whether backward passes compute the blocks' activations once more.
    recomputes: bool,
    params: Params,
    backbone: Backbone,
    instance: Option<ContrastiveHead>,
    local_group: Option<ContrastiveHead>,
    group: Option<GroupHead>,
}

/// What the backbone makes of a batch of equally sized crops.
struct Features {
    class_token: Tensor,
    relation: Option<Tensor>,
}

impl Network {
    /// A network with initial weights drawn from (seed, name): built with the same seed, a teacher is a copy of the
    /// student.
    ///
    /// # Errors
    /// The configuration is not valid.
    pub fn new(config: &ModelConfig, role: Role, seed: u64, device: Device) -> Result<Network, ConfigError> {
        Network::build(config, role, Source::seeded(seed, device).with_mended_tail(config.mends.initial_tail))
    }

    /// A network whose weights are all 0, made at once, to be loaded from a checkpoint.
    ///
    /// # Errors
    /// The configuration is not valid.
    pub fn blank(config: &ModelConfig, role: Role, device: Device) -> Result<Network, ConfigError> {
        Network::build(config, role, Source::blank(device))
    }

    fn build(config: &ModelConfig, role: Role, source: Source) -> Result<Network, ConfigError> {
        config.validate()?;
        let predicts = role == Role::Student;
        let mut params = Params::default();
        let mut builder = Builder::new(&mut params, predicts, source, config.precision.kind());
        let [instance, local_group, group] = config.heads();
        let contrastive = |builder: Builder<'_>, outputs| ContrastiveHead::new(builder, config, outputs, predicts);
        let backbone = Backbone::new(builder.at("backbone"), config);
        let instance = instance.then(|| contrastive(builder.at("instance_head"), config.instance_out_dim));
        let local_group = local_group.then(|| contrastive(builder.at("local_group_head"), config.local_group_out_dim));
        let group = group.then(|| GroupHead::new(builder.at("group_head"), config));
        let recomputes = predicts && config.checkpoint_activations;
        Ok(Network { role, recomputes, params, backbone, instance, local_group, group })
    }

    /// Has BatchNorm layers normalise over the batches of all `ranks` from now on.
    pub(crate) fn share(&mut self, ranks: &Arc<dyn Collective>) {
        self.instance.iter_mut().for_each(|head| head.share(ranks));
        self.local_group.iter_mut().for_each(|head| head.share(ranks));
        self.group.iter_mut().for_each(|head| head.share(ranks));
    }

    /// Student or teacher.
    pub fn role(&self) -> Role {
        self.role
    }

    /// All parameters under their published names, in published order.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The backbone alone, as evaluations use it.
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// The outputs for `global` `[n·B, 3, S, S]` and `local` `[m·B, 3, s, s]` crops, normalised float32 pixels, crop
    /// first, then image. The teacher records no gradients. Without a memory the relation block sees all tokens of a crop.
    pub fn forward(
        &self,
        global: &Tensor,
        local: Option<&Tensor>,
        memory: Option<&Memory>,
        drop_path: &DropPath<'_>,
    ) -> Outputs {
        let _no_grad = (self.role == Role::Teacher).then(no_grad_guard);
        let tokens = self.backbone.tokens_of_crops(global, drop_path, 0);
        let patch_mean = {
            let _no_grad = no_grad_guard();
            self.backbone.patch_mean(&tokens)
        };
        let mut features = vec![self.features(&tokens, memory)];
        if let Some(local) = local {
            let tokens = self.backbone.tokens_of_crops(local, drop_path, drop_path.crops_in(global.size()[0]));
            features.push(self.features(&tokens, memory));
        }
        self.heads(&features, patch_mean, self.role == Role::Teacher)
    }

    /// The same outputs for the training of a student, whose backward pass is by hand where that is cheaper: that of the
    /// last layer in the losses, that of the blocks in [`back`](Self::back), which `kept` is for.
    pub fn run(&self, crops: &[CropSet], memory: Option<&Memory>, drop_path: &DropPath<'_>) -> Outputs {
        let run = |set: &CropSet| self.backbone.run(&set.pixels, drop_path, set.first, self.recomputes);
        let kept: Vec<Kept> = crops.iter().map(run).collect();
        let features: Vec<_> = kept.iter().map(|kept| self.features(kept.tokens(), memory)).collect();
        let patch_mean = {
            let _no_grad = no_grad_guard();
            let large = crops.iter().zip(&kept).find(|(set, _)| set.large);
            match (large, features.first()) {
                (Some((_, kept)), _) => self.backbone.patch_mean(kept.tokens()),
                (None, Some(first)) => first.class_token.narrow(0, 0, 0),
                (None, None) => Tensor::new(),
            }
        };
        Outputs { kept, ..self.heads(&features, patch_mean, true) }
    }

    /// The rest of the backward pass of a loss on outputs with `kept` tokens, with the forward pass's `drop_path`. Calls
    /// `whole` with the number of a block of the backbone as soon as its gradients are whole.
    ///
    /// # Errors
    /// The library that computes gave up, for example for want of memory; or what `whole` says.
    pub fn back<E: From<TchError>>(
        &self,
        kept: Vec<Kept>,
        drop_path: &DropPath<'_>,
        whole: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.backbone.back(kept, drop_path, whole)
    }

    fn features(&self, tokens: &Tensor, memory: Option<&Memory>) -> Features {
        let relation = self.local_group.as_ref().map(|_| match memory {
            Some(memory) => {
                let query = self.backbone.query(tokens);
                let neighbours = memory.top_n(&query).rows;
                self.backbone.relation(&RelationBlock::beside(&query, &neighbours))
            }
            None => self.backbone.relation(tokens),
        });
        Features { class_token: self.backbone.class_token(tokens), relation }
    }

    /// The group head, without group loss none.
    pub(crate) fn group_head(&self) -> Option<&GroupHead> {
        self.group.as_ref()
    }

    /// `by_hand`: no graph beyond the group head's unit vectors.
    fn heads(&self, features: &[Features], patch_mean: Tensor, by_hand: bool) -> Outputs {
        let class_tokens: Vec<_> = features.iter().map(|features| &features.class_token).collect();
        let class_tokens = Tensor::cat(&class_tokens, 0);
        let relations: Vec<_> = features.iter().filter_map(|features| features.relation.as_ref()).collect();
        let last_layer = self.group.as_ref().filter(|_| by_hand).map(|head| head.call(&class_tokens));
        let whole = || self.group.as_ref().map(|head| head.forward(&class_tokens));
        Outputs {
            instance: self.instance.as_ref().map(|head| head.forward(&class_tokens)),
            local_group: self.local_group.as_ref().map(|head| head.forward(&Tensor::cat(&relations, 0))),
            group: last_layer.as_ref().map(|call| call.logits.shallow_clone()).or_else(whole),
            last_layer: last_layer.filter(|_| self.role == Role::Student),
            patch_mean,
            kept: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::Mends;

    fn small(loss_weights: [f64; 3]) -> ModelConfig {
        ModelConfig {
            embed_dim: 12,
            depth: 1,
            num_heads: 2,
            patch_size: 8,
            global_size: 32,
            head_hidden_dim: 8,
            predictor_hidden_dim: 8,
            group_out_dim: 20,
            loss_weights,
            ..ModelConfig::new(Arch::VitTiny)
        }
    }

    fn pixels(crops: i64, size: i64) -> Tensor {
        Source::seeded(0, Device::Cpu).tensor("pixels", &[crops, 3, size, size], Init::Normal)
    }

    #[test]
    fn a_weight_of_zero_removes_a_head() {
        let network = Network::new(&small([1.0, 0.0, 2.0]), Role::Student, 0, Device::Cpu).unwrap();
        assert!(network.params().iter().all(|param| !param.name.starts_with("local_group_head.")));
        let outputs = network.forward(&pixels(4, 32), Some(&pixels(6, 16)), None, &DropPath::off());
        assert!(outputs.local_group.is_none());
        assert_eq!(outputs.instance.unwrap().size(), [10, 256]);
        assert_eq!(outputs.group.unwrap().size(), [10, 20]);
        assert_eq!(outputs.patch_mean.size(), [4, 12]);
    }

    #[test]
    fn a_teacher_starts_as_a_copy_and_another_seed_as_another_network() {
        let config = small([1.0; 3]);
        let network = |role, seed| Network::new(&config, role, seed, Device::Cpu).unwrap();
        let (student, teacher, other) =
            (network(Role::Student, 5), network(Role::Teacher, 5), network(Role::Teacher, 6));
        for param in teacher.params() {
            assert_eq!(param.tensor, student.params().get(&param.name).unwrap().tensor, "{}", param.name);
        }
        let name = "backbone.pos_embed";
        assert_ne!(teacher.params().get(name).unwrap().tensor, other.params().get(name).unwrap().tensor);
    }

    #[test]
    fn dropped_samples_skip_their_branches_in_both_sizes() {
        let config = ModelConfig { depth: 2, drop_path_rate: 0.5, ..small([1.0; 3]) };
        let network = Network::new(&config, Role::Student, 0, Device::Cpu).unwrap();
        let memory = Memory::new("memory", 16, 12, 8, 0, Device::Cpu);
        let asked = std::cell::RefCell::new(Vec::new());
        let drop_path = DropPath::from_draws(2, |site, crop, image| {
            asked.borrow_mut().push((site.block, crop, image));
            0.75
        });
        network.forward(&pixels(4, 32), Some(&pixels(6, 16)), Some(&memory), &drop_path);
        let mut crops: Vec<_> = asked.take();
        crops.sort_unstable();
        crops.dedup();
        let expected: Vec<_> = (0..5).flat_map(|crop| [(1, crop, 0), (1, crop, 1)]).collect();
        assert_eq!(crops, expected);
    }

    #[test]
    fn no_gradient_reaches_memory_rows_or_patch_means() {
        let network = Network::new(&small([0.0, 1.0, 0.0]), Role::Student, 0, Device::Cpu).unwrap();
        let memory = Memory::new("memory", 16, 12, 8, 0, Device::Cpu);
        let outputs = network.forward(&pixels(4, 32), None, Some(&memory), &DropPath::off());
        assert!(!outputs.patch_mean.requires_grad());
        let first = outputs.local_group.unwrap().select(1, 0).sum(Kind::Float);
        first.backward();
        assert!(memory.state().iter().all(|(_, tensor)| !tensor.requires_grad()));
        assert!(network.params().iter().all(|param| param.tensor.grad().defined()));
    }

    #[test]
    fn a_mended_query_is_what_the_memory_holds() {
        let mends = Mends { memory_query: true, ..Mends::default() };
        let network = |mends| {
            let config = ModelConfig { mends, ..small([0.0, 1.0, 0.0]) };
            Network::new(&config, Role::Student, 0, Device::Cpu).unwrap()
        };
        let (published, mended) = (network(Mends::default()), network(mends));
        let tokens = published.backbone().tokens(&pixels(3, 32)).detach().set_requires_grad(true);
        assert_eq!(published.backbone().query(&tokens), tokens.mean_dim(1, false, None));
        let query = mended.backbone().query(&tokens);
        assert_eq!(query, mended.backbone().patch_mean(&tokens));
        // A row is found by the very picture that it was made of.
        let mut memory = Memory::new("memory", 16, 12, 2, 0, Device::Cpu);
        memory.write(&query.detach());
        assert_eq!(memory.top_n(&query).rows.select(1, 0), query.detach());
        // The gradient flows through the patch tokens and the norm, and not through the class token.
        (&query * pixels(3, 2).reshape([3, 12])).sum(Kind::Float).backward();
        let reached = tokens.grad().abs().sum_dim_intlist([0, 2].as_slice(), false, None);
        assert!(reached.double_value(&[0]) == 0.0 && reached.narrow(0, 1, 16).min().double_value(&[]) > 0.0);
        assert!(mended.params().get("backbone.norm.weight").unwrap().tensor.grad().defined());
    }
}
