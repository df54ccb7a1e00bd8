//! JPEG through libjpeg-turbo's raw interface.
//!
//! The safe wrapper treats a warning as an error and drops the picture; the published pipeline delivers it. Upsampling
//! and the inverse transform are libjpeg-turbo's defaults ("fancy", accurate integer), whose SIMD and scalar paths
//! give the same bytes; in fast mode too, where only large pictures are decoded otherwise, at a fraction of their size.

use std::ffi::CStr;
use std::ptr::NonNull;

use libc::c_int;
use turbojpeg::raw;

use super::{DecodeError, Header, JpegMode, markers};
use crate::{Format, Image};

/// The text of libjpeg's warning that the bytes ran out.
const PREMATURE_END: &str = "Premature end of JPEG file";

/// How libjpeg's warnings begin. An error that follows a warning is reported by libjpeg-turbo with the code of a
/// warning but its own text, so only these texts tell a delivered picture from a refused one.
const WARNINGS: [&str; 6] = [
    "Corrupt JPEG data: ",
    PREMATURE_END,
    "Inconsistent progression sequence ",
    "Invalid SOS parameters for sequential JPEG",
    "Unknown Adobe color transform code ",
    "Warning: ",
];

/// A libjpeg-turbo instance for decompression.
#[derive(Debug)]
struct Handle(NonNull<libc::c_void>);

// SAFETY: an instance has no ties to the thread that made it; it is only ever used through `&mut`.
unsafe impl Send for Handle {}

impl Handle {
    fn new() -> Result<Self, DecodeError> {
        // SAFETY: no preconditions; a null result is handled.
        let raw = unsafe { raw::tj3Init(raw::TJINIT_TJINIT_DECOMPRESS as c_int) };
        NonNull::new(raw).map(Self).ok_or_else(|| refused("libjpeg-turbo could not allocate its working memory"))
    }

    fn get(&mut self, parameter: raw::TJPARAM) -> c_int {
        // SAFETY: the handle is live until `drop`.
        unsafe { raw::tj3Get(self.0.as_ptr(), parameter as c_int) }
    }

    /// Turns the result of the last call on this thread into a warning or a refusal.
    fn outcome(&mut self, code: c_int) -> Result<Option<String>, String> {
        if code == 0 {
            return Ok(None);
        }
        // SAFETY: the handle is live; the text is NUL-terminated and owned by the instance or the thread until the
        // next call, and it is copied at once.
        let (text, code) = unsafe {
            let text = CStr::from_ptr(raw::tj3GetErrorStr(self.0.as_ptr())).to_string_lossy().into_owned();
            (text, raw::tj3GetErrorCode(self.0.as_ptr()))
        };
        let delivered =
            code == raw::TJERR_TJERR_WARNING as c_int && WARNINGS.iter().any(|start| text.starts_with(start));
        if delivered { Ok(Some(text)) } else { Err(text) }
    }

    fn read_header(&mut self, data: &[u8]) -> Result<Option<String>, String> {
        // SAFETY: the pointer and the length describe `data`; libjpeg-turbo does not keep them.
        let code = unsafe { raw::tj3DecompressHeader(self.0.as_ptr(), data.as_ptr(), data.len() as _) };
        self.outcome(code)
    }

    /// Decompresses at 1 / `reduction` of `size` into `out`, whose rows are columns * channels bytes.
    fn decompress(
        &mut self,
        data: &[u8],
        out: &mut [u8],
        size: &Size,
        reduction: usize,
    ) -> Result<Option<String>, String> {
        let (width, height) = size.reduced(reduction);
        assert_eq!(out.len(), width * height * size.channels());
        let format = if size.four { raw::TJPF_TJPF_CMYK } else { raw::TJPF_TJPF_RGB };
        let pitch = (width * size.channels()) as c_int;
        let scale = raw::tjscalingfactor { num: 1, denom: reduction as c_int };
        // SAFETY: the handle is live; a fraction that is not offered is refused.
        let code = unsafe { raw::tj3SetScalingFactor(self.0.as_ptr(), scale) };
        self.outcome(code)?;
        // SAFETY: `data` is described exactly. The picture's size follows from `data` alone and was read from it into
        // `size`; libjpeg-turbo divides it by the denominator set above and rounds up, as `reduced` does (but for
        // lossless pictures, whose reduction is 1). So it writes `height` rows of `pitch` bytes, the length asserted.
        let code = unsafe {
            let handle = self.0.as_ptr();
            raw::tj3Decompress8(handle, data.as_ptr(), data.len() as _, out.as_mut_ptr(), pitch, format as c_int)
        };
        self.outcome(code)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle came from `tj3Init` and is not used after this.
        unsafe { raw::tj3Destroy(self.0.as_ptr()) }
    }
}

/// What of a JPEG's header matters here.
struct Size {
    width: usize,
    height: usize,
    /// Four components: CMYK, or YCCK, which libjpeg turns into CMYK.
    four: bool,
    /// Without an inverse transform, and so without fractions of the size.
    lossless: bool,
}

impl Size {
    fn channels(&self) -> usize {
        if self.four { 4 } else { 3 }
    }

    /// The denominator of the fraction at which the picture is decoded.
    fn reduction(&self, mode: JpegMode) -> usize {
        if self.lossless { 1 } else { mode.reduction(self.width, self.height) }
    }

    /// Columns and rows at 1 / `reduction`.
    fn reduced(&self, reduction: usize) -> (usize, usize) {
        (self.width.div_ceil(reduction), self.height.div_ceil(reduction))
    }
}

fn refused(detail: impl std::fmt::Display) -> DecodeError {
    DecodeError::decode(Format::Jpeg, detail)
}

/// Fails if libjpeg-turbo cannot allocate its working memory.
pub(super) fn probe() -> Result<(), DecodeError> {
    Handle::new().map(drop)
}

pub(super) fn header(data: &[u8]) -> Result<Header, DecodeError> {
    let size = size(&mut Handle::new()?, data)?;
    Ok(Header { format: Format::Jpeg, width: size.width, height: size.height })
}

/// Decodes to RGB, with libjpeg's first warning. The limit holds for the size that the header says.
///
/// Every file gets a fresh instance: libjpeg keeps quantisation and Huffman tables from one file to the next, and a
/// damaged file that lacks its own would be decoded with those of whatever came before.
pub(super) fn decode(data: &[u8], limit: u64, mode: JpegMode) -> Result<(Image, Option<String>), DecodeError> {
    let mut handle = Handle::new()?;
    let size = size(&mut handle, data)?;
    Header { format: Format::Jpeg, width: size.width, height: size.height }.check(limit)?;
    let reduction = size.reduction(mode);
    let (width, height) = size.reduced(reduction);
    let mut pixels = vec![0; width * height * size.channels()];
    let done = handle.decompress(data, &mut pixels, &size, reduction);
    let image = |pixels: Vec<u8>| {
        let pixels = if size.four { cmyk_to_rgb(&pixels) } else { pixels };
        Image { width, height, pixels }
    };
    match done {
        Ok(None) => Ok((image(pixels), None)),
        // Behind a whole header, bytes that run out are missing pixel data, whatever libjpeg stumbled over.
        Ok(Some(text)) if text == PREMATURE_END => Err(DecodeError::truncated(Format::Jpeg, text)),
        Ok(Some(text)) | Err(text) if !markers::reaches_end(data) => Err(DecodeError::truncated(Format::Jpeg, text)),
        Ok(warning) => Ok((image(pixels), warning)),
        Err(text) => Err(refused(text)),
    }
}

fn size(handle: &mut Handle, data: &[u8]) -> Result<Size, DecodeError> {
    handle.read_header(data).map_err(refused)?;
    let side = |value: c_int| usize::try_from(value).ok().filter(|side| *side > 0);
    // A file with tables but no picture leaves the sizes unset.
    let width = side(handle.get(raw::TJPARAM_TJPARAM_JPEGWIDTH));
    let height = side(handle.get(raw::TJPARAM_TJPARAM_JPEGHEIGHT));
    let (Some(width), Some(height)) = (width, height) else {
        return Err(refused("the header ends before the picture's size"));
    };
    let space = handle.get(raw::TJPARAM_TJPARAM_COLORSPACE);
    let four = space == raw::TJCS_TJCS_CMYK as c_int || space == raw::TJCS_TJCS_YCCK as c_int;
    let lossless = handle.get(raw::TJPARAM_TJPARAM_LOSSLESS) != 0;
    Ok(Size { width, height, four, lossless })
}

/// Complements all four inks (files store them inverted, with or without an Adobe marker) and mixes them to RGB.
fn cmyk_to_rgb(inks: &[u8]) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(inks.len() / 4 * 3);
    for &[c, m, y, k] in inks.as_chunks::<4>().0 {
        // nk = 255 - K with K = 255 - k, so it is the stored byte itself.
        let light = |ink: u8| k - multiply(255 - ink, k).min(k);
        pixels.extend([light(c), light(m), light(y)]);
    }
    pixels
}

/// `a * b / 255`, rounded to nearest, in integers.
fn multiply(a: u8, b: u8) -> u8 {
    let t = u32::from(a) * u32::from(b) + 128;
    (((t >> 8) + t) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        crate::encode::jpeg(&Image::filled(20, 10, [10, 200, 90]), 95).unwrap()
    }

    /// Where a segment's marker lies.
    fn segment(file: &[u8], marker: u8) -> usize {
        file.windows(2).position(|pair| pair == [0xFF, marker]).unwrap()
    }

    #[test]
    fn a_failed_header_does_not_spoil_the_next_file() {
        let (file, mut decoder) = (file(), crate::Decoder::new().unwrap());
        let before = decoder.decode(&file).unwrap();
        for cut in [3, 20, 100, 300] {
            assert_eq!(decoder.decode(&file[..cut]).unwrap_err().kind(), "decode", "cut at {cut}");
            assert_eq!(decoder.decode(&file).unwrap(), before);
        }
    }

    #[test]
    fn a_file_without_tables_does_not_borrow_those_of_the_file_before() {
        let (file, mut decoder) = (file(), crate::Decoder::new().unwrap());
        let mut damaged = file.clone();
        damaged[segment(&file, 0xDB)] = 0;
        decoder.decode(&file).unwrap();
        assert_eq!(decoder.decode(&damaged).unwrap_err().kind(), "decode");
    }

    #[test]
    fn an_error_after_a_warning_is_an_error() {
        // Stray bytes before the tables (a warning), then a quantisation table that is missing.
        let mut damaged = file();
        let at = segment(&damaged, 0xDB);
        damaged[at] = 0;
        let error = decode(&damaged, 1 << 20, JpegMode::Exact).unwrap_err();
        assert!(error.to_string().contains("Quantization table"), "{error}");
    }

    #[test]
    fn multiply_rounds_to_nearest() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let exact = f64::from(a) * f64::from(b) / 255.0;
                assert_eq!(f64::from(multiply(a, b)), exact.round(), "{a} * {b}");
            }
        }
    }
}
