//! Bytes to pixels and back: sniffing, decoding, encoding and the crop operators, exact to the bit.
//!
//! The reference is the published Mugs augmentation as Pillow 9.5 to 12, torchvision and timm run it on x86-64; every
//! function here gives the same bytes. Three rules make that possible: the decoders are libjpeg-turbo (JPEG) and
//! lossless codecs, floating-point expressions keep the reference's order and precision, and a multiply is never
//! fused with an add.
//!
//! ```
//! use mugs_image::{Decoder, Image, encode, ops::{self, Filter}};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let red = Image::new(4, 3, [200, 30, 30].repeat(12))?;
//! let file = encode::png(&red)?;
//! let picture = Decoder::new()?.decode(&file)?.image;
//! assert_eq!(picture, red);
//! let small = ops::resize(&picture, 2, 2, Filter::Bicubic);
//! assert_eq!(small.pixel(1, 1), [200, 30, 30]);
//! # Ok(())
//! # }
//! ```

pub mod decode;
pub mod encode;
pub mod fast;
mod format;
mod image;
pub mod ops;

pub use decode::{DEFAULT_PIXEL_LIMIT, DecodeError, Decoded, Decoder, Header, header};
pub use encode::EncodeError;
pub use format::{Format, sniff};
pub use image::{Image, ShapeError};
