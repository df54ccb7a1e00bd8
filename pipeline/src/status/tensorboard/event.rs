//! The protocol buffers of event files, as far as they are used here: `Event`, `Summary`, `HistogramProto`, `SessionLog`.
//!
//! Field numbers are those of TensorFlow's `event.proto` and `summary.proto`.

use super::histogram::Histogram;

/// What one event says.
pub enum What<'a> {
    /// The first of a file: the version of the format.
    Version,
    /// A start: whatever was said before about its step and later ones no longer counts.
    Start,
    /// Numbers by name.
    Scalars(&'a [(String, f64)]),
    /// How often which numbers came.
    Histogram {
        /// Its name.
        tag: &'a str,
        /// The numbers.
        histogram: &'a Histogram,
    },
    /// A picture.
    Image {
        /// Its name.
        tag: &'a str,
        /// Width and height in pixels.
        size: (usize, usize),
        /// The file.
        png: &'a [u8],
    },
}

/// An `Event` at a wall time in Unix seconds and a step of the run.
pub fn event(time: f64, step: u64, what: &What<'_>) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, time);
    event.integer(2, step);
    match what {
        What::Version => event.bytes(3, b"brain.Event:2"),
        What::Scalars(scalars) => {
            let mut summary = Message::default();
            for (tag, value) in *scalars {
                let mut entry = Message::default();
                entry.bytes(1, tag.as_bytes());
                entry.float(2, *value as f32);
                summary.bytes(1, &entry.0);
            }
            event.bytes(5, &summary.0);
        }
        What::Image { tag, size, png } => {
            const RGB: u64 = 3;
            let (mut image, mut entry, mut summary) = (Message::default(), Message::default(), Message::default());
            image.integer(1, size.1 as u64);
            image.integer(2, size.0 as u64);
            image.integer(3, RGB);
            image.bytes(4, png);
            entry.bytes(1, tag.as_bytes());
            entry.bytes(4, &image.0);
            summary.bytes(1, &entry.0);
            event.bytes(5, &summary.0);
        }
        What::Histogram { tag, histogram } => {
            let (mut histo, mut entry, mut summary) = (Message::default(), Message::default(), Message::default());
            let (least, most) = histogram.range;
            let [count, sum, squares] = histogram.moments;
            for (field, value) in (1..).zip([least as f64, most as f64, count, sum, squares]) {
                histo.double(field, value);
            }
            let packed = |values: &mut dyn Iterator<Item = u64>| -> Vec<u8> {
                values.flat_map(|value| (value as f64).to_le_bytes()).collect()
            };
            histo.bytes(6, &packed(&mut histogram.buckets.iter().map(|(end, _)| *end)));
            histo.bytes(7, &packed(&mut histogram.buckets.iter().map(|(_, count)| *count)));
            entry.bytes(1, tag.as_bytes());
            entry.bytes(5, &histo.0);
            summary.bytes(1, &entry.0);
            event.bytes(5, &summary.0);
        }
        What::Start => {
            const START: u64 = 1;
            let mut session = Message::default();
            session.integer(1, START);
            event.bytes(7, &session.0);
        }
    }
    event.0
}

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// A field's number and how its value is stored: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
    fn key(&mut self, field: u64, stored: u64) {
        self.varint(field << 3 | stored);
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_encoded_as_protocol_buffers() {
        let time = b"\x09\x00\x00\x00\x00\x00\x00\xf8\x3f";
        let scalars = [("lr".to_owned(), 0.5), ("wd".to_owned(), -2.0)];
        let expected: [(What<'_>, &[u8]); 4] = [
            (What::Version, b"\x10\xac\x02\x1a\x0dbrain.Event:2"),
            (What::Start, b"\x10\xac\x02\x3a\x02\x08\x01"),
            (
                What::Scalars(&scalars),
                b"\x10\xac\x02\x2a\x16\x0a\x09\x0a\x02lr\x15\x00\x00\x00\x3f\x0a\x09\x0a\x02wd\x15\x00\x00\x00\xc0",
            ),
            (
                What::Image { tag: "c", size: (5, 300), png: b"PNG" },
                b"\x10\xac\x02\x2a\x13\x0a\x11\x0a\x01c\x22\x0c\x08\xac\x02\x10\x05\x18\x03\x22\x03PNG",
            ),
        ];
        for (what, bytes) in expected {
            assert_eq!(event(1.5, 300, &what), [&time[..], bytes].concat());
        }
    }

    #[test]
    fn a_histogram_is_encoded_with_packed_buckets() {
        let histogram = Histogram::of(&[(1, 2), (2, 1)]).unwrap();
        let doubles = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let fields: Vec<u8> = [(0x09, 1.0), (0x11, 2.0), (0x19, 3.0), (0x21, 4.0), (0x29, 6.0)]
            .into_iter()
            .flat_map(|(key, value)| [vec![key], doubles(&[value])].concat())
            .collect();
        let histo = [&fields[..], b"\x32\x10", &doubles(&[2.0, 3.0]), b"\x3a\x10", &doubles(&[2.0, 1.0])].concat();
        let entry = [&b"\x0a\x01a\x2a"[..], &[histo.len() as u8], &histo].concat();
        let summary = [&b"\x0a"[..], &[entry.len() as u8], &entry].concat();
        let whole = [&b"\x09"[..], &doubles(&[1.5]), b"\x10\x03\x2a", &[summary.len() as u8], &summary].concat();
        assert_eq!(event(1.5, 3, &What::Histogram { tag: "a", histogram: &histogram }), whole);
    }
}
