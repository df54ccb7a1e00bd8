//! JPEG through libjpeg-turbo's raw interface.
//!
//! The safe wrapper treats a warning as an error and drops the picture; the published pipeline delivers it. Upsampling
//! and the inverse transform are libjpeg-turbo's defaults ("fancy", accurate integer), whose SIMD and scalar paths
//! give the same bytes.

use std::ffi::CStr;
use std::ptr::NonNull;

use libc::c_int;
use turbojpeg::raw;

use super::{DecodeError, Header, markers};
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

    /// Decompresses into `out`, whose rows are `width * channels` bytes.
    fn decompress(&mut self, data: &[u8], out: &mut [u8], size: &Size) -> Result<Option<String>, String> {
        assert_eq!(out.len(), size.width * size.height * size.channels());
        let format = if size.four { raw::TJPF_TJPF_CMYK } else { raw::TJPF_TJPF_RGB };
        let pitch = (size.width * size.channels()) as c_int;
        // SAFETY: `data` is described exactly. The picture's size follows from `data` alone and was read from it into
        // `size`, so libjpeg-turbo writes `height` rows of `pitch` bytes, the length asserted above.
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
}

impl Size {
    fn channels(&self) -> usize {
        if self.four { 4 } else { 3 }
    }
}

fn refused(detail: impl std::fmt::Display) -> DecodeError {
    DecodeError::decode(Format::Jpeg, detail)
}

/// Decodes one JPEG after another with the same working memory.
#[derive(Debug)]
pub(super) struct JpegDecoder {
    /// None after an error: a header that fails leaves libjpeg in the middle of it, and the next file would continue
    /// there.
    handle: Option<Handle>,
}

impl JpegDecoder {
    pub(super) fn new() -> Result<Self, DecodeError> {
        Ok(Self { handle: Some(Handle::new()?) })
    }

    pub(super) fn header(&mut self, data: &[u8]) -> Result<Header, DecodeError> {
        let size = self.with_handle(|handle| size(handle, data))?;
        Ok(Header { format: Format::Jpeg, width: size.width, height: size.height })
    }

    /// Decodes to RGB, with libjpeg's first warning.
    pub(super) fn decode(&mut self, data: &[u8], limit: u64) -> Result<(Image, Option<String>), DecodeError> {
        let (size, pixels, warning) = self.with_handle(|handle| {
            let size = size(handle, data)?;
            Header { format: Format::Jpeg, width: size.width, height: size.height }.check(limit)?;
            let mut pixels = vec![0; size.width * size.height * size.channels()];
            let warning = handle.decompress(data, &mut pixels, &size).map_err(refused)?;
            Ok((size, pixels, warning))
        })?;
        if let Some(text) = warning.as_ref().filter(|text| *text == PREMATURE_END || !markers::reaches_end(data)) {
            return Err(DecodeError::truncated(Format::Jpeg, text));
        }
        let pixels = if size.four { cmyk_to_rgb(&pixels) } else { pixels };
        Ok((Image { width: size.width, height: size.height, pixels }, warning))
    }

    /// Runs `work` with a fresh handle if the last file failed, and drops the handle if this one fails.
    fn with_handle<T>(&mut self, work: impl FnOnce(&mut Handle) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        let mut handle = self.handle.take().map_or_else(Handle::new, Ok)?;
        let result = work(&mut handle)?;
        self.handle = Some(handle);
        Ok(result)
    }
}

fn size(handle: &mut Handle, data: &[u8]) -> Result<Size, DecodeError> {
    handle.read_header(data).map_err(refused)?;
    let side = |value: c_int| usize::try_from(value).ok().filter(|side| *side > 0);
    // A file with tables but no picture leaves the sizes unset (or those of the file before, and then fails in full).
    let width = side(handle.get(raw::TJPARAM_TJPARAM_JPEGWIDTH));
    let height = side(handle.get(raw::TJPARAM_TJPARAM_JPEGHEIGHT));
    let (Some(width), Some(height)) = (width, height) else {
        return Err(refused("the header ends before the picture's size"));
    };
    let space = handle.get(raw::TJPARAM_TJPARAM_COLORSPACE);
    let four = space == raw::TJCS_TJCS_CMYK as c_int || space == raw::TJCS_TJCS_YCCK as c_int;
    Ok(Size { width, height, four })
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

    #[test]
    fn a_failed_header_does_not_spoil_the_next_file() {
        let image = Image::filled(20, 10, [10, 200, 90]);
        let file = crate::encode::jpeg(&image, 95).unwrap();
        let mut decoder = JpegDecoder::new().unwrap();
        let before = decoder.decode(&file, 1 << 20).unwrap();
        for cut in [3, 20, 100, 300] {
            assert_eq!(decoder.decode(&file[..cut], 1 << 20).unwrap_err().kind(), "decode", "cut at {cut}");
            assert_eq!(decoder.decode(&file, 1 << 20).unwrap(), before);
        }
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
