//! Portable bitmaps, graymaps and pixmaps (netpbm's pbm, pgm and ppm; plain and raw), with Pillow's scaling.
//!
//! A parser of our own because the scaling of a maxval other than 255 rounds half to even in f64 here.

use super::{DecodeError, Header};
use crate::{Format, Image};

/// What a PNM header says, and where its samples start.
struct PnmHeader {
    /// P1 to P6.
    kind: u8,
    width: usize,
    height: usize,
    /// Largest sample value, 1 to 65535; 1 for bitmaps.
    maxval: u32,
    /// Offset of the first sample.
    start: usize,
}

impl PnmHeader {
    fn channels(&self) -> usize {
        if matches!(self.kind, b'3' | b'6') { 3 } else { 1 }
    }

    fn size(&self) -> Header {
        Header { format: Format::Pnm, width: self.width, height: self.height }
    }
}

pub(super) fn header(data: &[u8]) -> Result<Header, DecodeError> {
    Ok(parse(data)?.size())
}

pub(super) fn decode(data: &[u8], limit: u64) -> Result<Image, DecodeError> {
    let header = parse(data)?;
    header.size().check(limit)?;
    let samples = match header.kind {
        b'1' => plain_bits(data, &header)?,
        b'2' | b'3' => plain_samples(data, &header)?,
        b'4' => raw_bits(data, &header)?,
        _ => raw_samples(data, &header)?,
    };
    let pixels = if header.channels() == 3 { samples } else { samples.iter().flat_map(|&v| [v; 3]).collect() };
    Ok(Image { width: header.width, height: header.height, pixels })
}

fn refused(detail: impl std::fmt::Display) -> DecodeError {
    DecodeError::decode(Format::Pnm, detail)
}

fn ran_out(found: usize, wanted: usize) -> DecodeError {
    DecodeError::truncated(Format::Pnm, format!("{found} of {wanted} samples"))
}

fn parse(data: &[u8]) -> Result<PnmHeader, DecodeError> {
    let kind = data[1];
    let mut at = 2;
    let mut number = |what: &str| {
        let token = next_token(data, &mut at).ok_or_else(|| refused(format!("the header ends before the {what}")))?;
        let text = String::from_utf8_lossy(token);
        text.parse::<u32>().map_err(|_| refused(format!("the {what} is no number but {text:?}")))
    };
    let (width, height) = (number("width")?, number("height")?);
    let maxval = if matches!(kind, b'1' | b'4') { 1 } else { number("maxval")? };
    if width == 0 || height == 0 || !(1..=65535).contains(&maxval) {
        return Err(refused(format!("{width}x{height} with maxval {maxval} is out of range")));
    }
    // Exactly one whitespace byte separates the header from raw samples.
    Ok(PnmHeader { kind, width: width as usize, height: height as usize, maxval, start: at + 1 })
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0B | 0x0C)
}

/// The next run of bytes that are neither space nor comment; `at` moves behind it.
fn next_token<'d>(data: &'d [u8], at: &mut usize) -> Option<&'d [u8]> {
    loop {
        match *data.get(*at)? {
            b'#' => *at += data[*at..].iter().position(|&byte| byte == b'\n').unwrap_or(data.len() - *at),
            byte if is_space(byte) => *at += 1,
            _ => break,
        }
    }
    let rest = &data[*at..];
    let length = rest.iter().position(|&byte| is_space(byte) || byte == b'#').unwrap_or(rest.len());
    *at += length;
    Some(&rest[..length])
}

/// Sample values to bytes. Gray of two bytes a sample is scaled to 16 bits and saturates at 255, like 16-bit PNG.
fn scale(header: &PnmHeader) -> impl Fn(u32) -> u8 {
    let maxval = f64::from(header.maxval);
    let full = if header.maxval > 255 && header.channels() == 1 { 65535.0 } else { 255.0 };
    let same = maxval == full;
    move |value| {
        let value = f64::from(value);
        let scaled = if same { value } else { (value / maxval * full).round_ties_even() };
        scaled.min(255.0) as u8
    }
}

fn raw_samples(data: &[u8], header: &PnmHeader) -> Result<Vec<u8>, DecodeError> {
    let wide = header.maxval > 255;
    let count = header.width * header.height * header.channels();
    let stored = data.get(header.start..).unwrap_or_default();
    let bytes = if wide { 2 } else { 1 };
    let stored = stored.get(..count * bytes).ok_or_else(|| ran_out(stored.len() / bytes, count))?;
    let scale = scale(header);
    if wide {
        return Ok(stored.as_chunks::<2>().0.iter().map(|pair| scale(u16::from_be_bytes(*pair).into())).collect());
    }
    let table: Vec<u8> = (0..256).map(scale).collect();
    Ok(stored.iter().map(|&value| table[usize::from(value)]).collect())
}

fn plain_samples(data: &[u8], header: &PnmHeader) -> Result<Vec<u8>, DecodeError> {
    let count = header.width * header.height * header.channels();
    let scale = scale(header);
    let mut at = header.start;
    let mut samples = Vec::new();
    while samples.len() < count {
        let token = next_token(data, &mut at).ok_or_else(|| ran_out(samples.len(), count))?;
        let value = std::str::from_utf8(token).ok().and_then(|text| text.parse::<u32>().ok());
        let value = value.filter(|value| *value <= header.maxval).ok_or_else(|| {
            let text = String::from_utf8_lossy(token);
            refused(format!("sample {} is {text:?}, not a number up to {}", samples.len(), header.maxval))
        })?;
        samples.push(scale(value));
    }
    Ok(samples)
}

/// A bitmap's 1 is black.
fn ink(bit: u8) -> u8 {
    if bit == 0 { 255 } else { 0 }
}

fn raw_bits(data: &[u8], header: &PnmHeader) -> Result<Vec<u8>, DecodeError> {
    let stride = header.width.div_ceil(8);
    let stored = data.get(header.start..).unwrap_or_default();
    let wanted = stride * header.height;
    let stored = stored.get(..wanted).ok_or_else(|| ran_out(stored.len() * 8, wanted * 8))?;
    let row = |row: &[u8]| (0..header.width).map(|x| ink(row[x / 8] >> (7 - x % 8) & 1)).collect::<Vec<u8>>();
    Ok(stored.chunks_exact(stride).flat_map(row).collect())
}

/// Plain bits need no space between them.
fn plain_bits(data: &[u8], header: &PnmHeader) -> Result<Vec<u8>, DecodeError> {
    let count = header.width * header.height;
    let mut at = header.start;
    let mut samples = Vec::new();
    while samples.len() < count {
        let token = next_token(data, &mut at).ok_or_else(|| ran_out(samples.len(), count))?;
        for &digit in token {
            if !matches!(digit, b'0' | b'1') {
                return Err(refused(format!("sample {} is neither 0 nor 1", samples.len())));
            }
            samples.push(ink(digit - b'0'));
        }
    }
    samples.truncate(count);
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(data: &[u8]) -> Result<Vec<u8>, DecodeError> {
        decode(data, 1 << 20).map(|image| image.pixels)
    }

    #[test]
    fn colour_scales_to_255_and_wide_gray_saturates() {
        assert_eq!(pixels(b"P6\n1 1\n100\n\x01\x32\x64").unwrap(), [3, 128, 255]);
        assert_eq!(pixels(b"P6 1 1 65535\n\x80\x80\x00\xFF\xFF\xFF").unwrap(), [128, 1, 255]);
        assert_eq!(pixels(b"P5 2 1 65535\n\x00\x0A\x01\x00").unwrap(), [10, 10, 10, 255, 255, 255]);
        assert_eq!(pixels(b"P5 1 1 256\n\x00\x01").unwrap(), [255; 3]);
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        // 1/2*255 = 127.5 and 1/10*255 = 25.5.
        assert_eq!(pixels(b"P5 1 1 2\n\x01").unwrap(), [128; 3]);
        assert_eq!(pixels(b"P5 1 1 10\n\x01").unwrap(), [26; 3]);
    }

    #[test]
    fn plain_files_may_hold_comments() {
        assert_eq!(pixels(b"P2 # gray\n2 1\n# top\n255\n7 #x\n9").unwrap(), [7, 7, 7, 9, 9, 9]);
        assert_eq!(pixels(b"P1 3 1 0\n10").unwrap(), [255, 255, 255, 0, 0, 0, 255, 255, 255]);
        assert_eq!(pixels(b"P4\n3 1\n\x40").unwrap(), [255, 255, 255, 0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(pixels(b"P6 2 1 255\n\x01").unwrap_err().to_string(), "truncated pnm: 1 of 6 samples");
        assert_eq!(pixels(b"P2 1 1 255 ").unwrap_err().kind(), "truncated");
        assert_eq!(pixels(b"P2 1 1 255 256").unwrap_err().kind(), "decode");
        assert_eq!(pixels(b"P6 2").unwrap_err().kind(), "decode");
        assert_eq!(pixels(b"P6 0 1 255 ").unwrap_err().kind(), "decode");
    }
}
