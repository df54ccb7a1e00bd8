//! The options of the crop stage, by their published names.

use serde::{Deserialize, Serialize};

use super::policy::{Policy, PolicyError};

/// Longest side of a crop in pixels.
const MAX_SIZE: usize = 4096;
/// Most local crops of a picture.
const MAX_LOCAL_CROPS: usize = 1000;

/// How a picture is cut into crops. The defaults are the published recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CropConfig {
    /// Side of the four large crops in pixels, 1 to 4096. Default 224. Example: `global_crops_size = 160`.
    pub global_crops_size: usize,
    /// Side of the local crops in pixels, 1 to 4096. Default 96. Example: `size_crops = 64`.
    pub size_crops: usize,
    /// The least and the largest part of a picture's area that a large crop covers, above 0 to 1. Default `[0.25, 1]`.
    /// Example: `global_crops_scale = [0.4, 1.0]`.
    pub global_crops_scale: [f64; 2],
    /// The same for a local crop. Default `[0.05, 0.25]`. Example: `local_crops_scale = [0.05, 0.4]`.
    pub local_crops_scale: [f64; 2],
    /// Local crops per picture, 0 to 1000. Default 10. Example: `local_crops_number = 6`.
    pub local_crops_number: usize,
    /// Probability that the student's two large crops are *weak* (one draw for both), and that a local crop is (its own
    /// draw), 0 to 1; the published help text says the opposite. Default 0.5. Example: `prob = 0.2`.
    pub prob: f64,
    /// Probability that a rectangle of a strong crop is erased, 0 to 1. Default 0.25. Example: `re_prob = 0.0`.
    pub re_prob: f64,
    /// Whether strong crops get colour jitter and gray as the weak ones do, after RandAugment. Default false. Example:
    /// `color_aug = true`.
    pub color_aug: bool,
    /// Whether the student's two large crops are copies of the teacher's. Local crops are not concerned. Default false.
    /// Example: `vanilla_weak_augmentation = true`.
    pub vanilla_weak_augmentation: bool,
    /// The RandAugment policy of strong crops: `rand`, then, joined by `-`, `m` magnitude (0 to 10), `n` operators per
    /// crop, `mstd` deviation of the magnitude, `inc1` for the set that grows with the magnitude, `w0` for the weighted
    /// choice. Default `rand-m9-mstd0.5-inc1`. Example: `timm_auto_augment_par = "rand-m7-n3-inc1"`.
    pub timm_auto_augment_par: String,
}

impl Default for CropConfig {
    fn default() -> Self {
        Self {
            global_crops_size: 224,
            size_crops: 96,
            global_crops_scale: [0.25, 1.0],
            local_crops_scale: [0.05, 0.25],
            local_crops_number: 10,
            prob: 0.5,
            re_prob: 0.25,
            color_aug: false,
            vanilla_weak_augmentation: false,
            timm_auto_augment_par: "rand-m9-mstd0.5-inc1".into(),
        }
    }
}

impl CropConfig {
    /// Checks every option.
    ///
    /// # Errors
    /// The first option that is out of its range.
    pub fn validate(&self) -> Result<(), CropConfigError> {
        self.policy().map(drop)
    }

    /// Checks every option and reads the policy.
    pub(super) fn policy(&self) -> Result<Policy, CropConfigError> {
        size("global_crops_size", self.global_crops_size)?;
        size("size_crops", self.size_crops)?;
        scale("global_crops_scale", self.global_crops_scale)?;
        scale("local_crops_scale", self.local_crops_scale)?;
        let number = self.local_crops_number;
        check(number <= MAX_LOCAL_CROPS, "local_crops_number", number, "0 to 1000")?;
        probability("prob", self.prob)?;
        probability("re_prob", self.re_prob)?;
        let text = &self.timm_auto_augment_par;
        text.parse().and_then(Policy::drawable).map_err(|cause| CropConfigError::Policy { policy: text.clone(), cause })
    }
}

/// An option of the crop stage that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CropConfigError {
    /// A number out of its range.
    #[error("option `{option}` is {value}; it must be {range}")]
    Range {
        /// The option.
        option: &'static str,
        /// What it was set to.
        value: String,
        /// What it can be set to.
        range: &'static str,
    },
    /// A policy string that is none.
    #[error("option `timm_auto_augment_par` is `{policy}`: {cause}")]
    Policy {
        /// The string.
        policy: String,
        /// What is wrong.
        cause: PolicyError,
    },
}

fn check(good: bool, option: &'static str, value: impl ToString, range: &'static str) -> Result<(), CropConfigError> {
    if good { Ok(()) } else { Err(CropConfigError::Range { option, value: value.to_string(), range }) }
}

fn size(option: &'static str, value: usize) -> Result<(), CropConfigError> {
    check((1..=MAX_SIZE).contains(&value), option, value, "1 to 4096 pixels")
}

fn scale(option: &'static str, [least, most]: [f64; 2]) -> Result<(), CropConfigError> {
    let good = 0.0 < least && least <= most && most <= 1.0;
    check(
        good,
        option,
        format!("[{least}, {most}]"),
        "two parts of the area above 0 and up to 1, the smaller one first",
    )
}

fn probability(option: &'static str, value: f64) -> Result<(), CropConfigError> {
    check((0.0..=1.0).contains(&value), option, value, "a probability from 0 to 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        let config: CropConfig = serde_json::from_str(json).unwrap();
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid_and_missing_options_take_them() {
        assert_eq!(CropConfig::default().validate(), Ok(()));
        assert_eq!(serde_json::from_str::<CropConfig>("{}").unwrap(), CropConfig::default());
    }

    #[test]
    fn unknown_options_are_refused() {
        let error = serde_json::from_str::<CropConfig>(r#"{"global_crop_scale": [0.4, 1]}"#).unwrap_err();
        assert!(error.to_string().starts_with("unknown field `global_crop_scale`"), "{error}");
    }

    #[test]
    fn options_out_of_range_are_named() {
        assert_eq!(refusal(r#"{"size_crops": 0}"#), "option `size_crops` is 0; it must be 1 to 4096 pixels");
        assert_eq!(refusal(r#"{"prob": 1.5}"#), "option `prob` is 1.5; it must be a probability from 0 to 1");
        assert_eq!(
            refusal(r#"{"local_crops_number": 1001}"#),
            "option `local_crops_number` is 1001; it must be 0 to 1000"
        );
        for scale in ["[0, 0.5]", "[0.5, 0.25]", "[0.5, 1.5]", "[-0.1, 0.5]"] {
            let error = refusal(&format!(r#"{{"local_crops_scale": {scale}}}"#));
            assert!(
                error.starts_with(&format!("option `local_crops_scale` is {scale}; it must be two parts")),
                "{error}"
            );
        }
        let nan = CropConfig { re_prob: f64::NAN, ..CropConfig::default() };
        assert!(nan.validate().is_err());
    }

    #[test]
    fn policies_that_cannot_be_drawn_are_refused() {
        assert_eq!(
            refusal(r#"{"timm_auto_augment_par": "rand-x1"}"#),
            "option `timm_auto_augment_par` is `rand-x1`: the key `x` of part `x1` is unknown; there are m, n, mstd, inc and w"
        );
        let error = refusal(r#"{"timm_auto_augment_par": "rand-w0-n14"}"#);
        assert!(error.ends_with("14 different operators are asked for, but only 13 can be drawn; lower n"), "{error}");
    }
}
