//! Shard sets: samples in tar files with an index and a manifest; packing, verifying, reading.
//!
//! A set is a folder with
//!
//! * `NAME-000000.tar`, … — POSIX ustar; of each sample the picture `KEY.jpeg` and its label `KEY.cls` (the number
//!   of its class in ASCII digits), adjacent. Python's webdataset and any `tar` read them;
//! * `NAME-000000.idx`, … — one line per member: key, extension, offset, length, XXH3-128;
//! * `manifest.json` — the classes, the shards with their sample counts, sizes and checksums, and its own checksum.
//!   It is written last: a folder without it is no set.
//!
//! Every byte of a set is covered by a checksum; what is read by [`ShardReader::read`] has been compared with it.
//! This crate knows nothing of pixels: packing is told by its caller whether bytes are a picture.

mod checksum;
mod error;
mod foreign;
mod frames;
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod manifest;
mod pack;
mod pictures;
mod set;
mod source;
mod stats;
pub mod tar;
mod unpack;
mod ustar;
mod verify;
mod wids;

pub use checksum::{Checksum, NotAChecksum};
pub use error::ShardError;
pub use foreign::{IndexConfig, Indexed, index_tars, tars_of};
pub use index::{Frame, LABEL_EXTENSION, Member, PICTURE_EXTENSIONS, SampleEntry};
pub use manifest::{MANIFEST, Manifest, ShardInfo, VERSION, valid_name};
pub use pack::{
    Counts, Hooks, OnBadImage, PackConfig, PackError, PackPlan, PackReport, Phase, Progress, REPORT, Resume, pack, plan,
};
pub use pictures::{BadPicture, CheckLevel, Examined, PictureCheck, Pictures};
pub use set::{Sample, ShardReader, ShardSet};
pub use source::{Fingerprint, Ignored, SourceKind, SourceOptions, fingerprint};
pub use stats::{ClassCount, Odd, Quantiles, SetStats, stats};
pub use tar::Dots;
pub use unpack::{UnpackError, UnpackHooks, Unpacked, unpack};
pub use verify::{Decode, Problem, VerifyHooks, VerifyReport, verify};
pub use wids::{WidsIndex, WidsShard};
