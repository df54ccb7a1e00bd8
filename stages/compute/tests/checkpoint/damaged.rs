//! Cut, changed and hostile files are refused, or read as they were.

use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

use mugs_compute::checkpoint::{Checkpoint, CheckpointError, Loaded, Position, Value, load_value, save_value};
use proptest::prelude::*;
use tch::Tensor;

use crate::sample::{checkpoint, digest};

fn small() -> Value {
    Value::dict([
        ("weights", Value::OrderedDict(vec![(Value::text("a"), Value::Tensor(Tensor::from_slice(&[1.5_f32, -2.0])))])),
        ("pointer", Value::Tensor(Tensor::from_slice(&[7_i64]))),
        ("epoch", Value::Int(3)),
    ])
}

/// The small file's contents as text, tensors by their digests.
fn describe(value: &Value) -> String {
    match value {
        Value::Tensor(tensor) => format!("{:?} {:?} {}", tensor.kind(), tensor.size(), digest(tensor)),
        Value::Dict(items) | Value::OrderedDict(items) => {
            items.iter().map(|(key, value)| format!("{key:?}: {}, ", describe(value))).collect()
        }
        other => format!("{other:?}"),
    }
}

fn bytes() -> Vec<u8> {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.pth");
        save_value(&small(), &path).unwrap();
        std::fs::read(path).unwrap()
    });
    BYTES.clone()
}

fn load(path: &Path, bytes: &[u8]) -> Result<Value, CheckpointError> {
    std::fs::write(path, bytes).unwrap();
    load_value(path)
}

#[test]
fn every_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pth");
    let whole = bytes();
    assert_eq!(describe(&load(&path, &whole).unwrap()), describe(&small()));
    for length in 0..whole.len() {
        assert!(load(&path, &whole[..length]).is_err(), "{length} of {} bytes are read", whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_is_refused_or_changes_nothing(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let folder = tempfile::tempdir().unwrap();
        let mut damaged = bytes();
        let at = at.index(damaged.len());
        damaged[at] ^= flip;
        if let Ok(value) = load(&folder.path().join("damaged.pth"), &damaged) {
            prop_assert_eq!(describe(&value), describe(&small()));
        }
    }

    /// The zip's checksums are right here, so that the pickle reader sees the damage.
    #[test]
    fn a_changed_pickle_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut pickle = pickle_of(&bytes());
        let at = at.index(pickle.len());
        pickle[at] = byte;
        drop(load_pickle(&pickle));
    }

    #[test]
    fn no_pickle_panics(pickle in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(load_pickle(&pickle));
    }
}

fn pickle_of(file: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(file)).unwrap();
    let mut pickle = Vec::new();
    std::io::Read::read_to_end(&mut zip.by_name("checkpoint/data.pkl").unwrap(), &mut pickle).unwrap();
    pickle
}

/// Loads a sound zip file with this pickle and the storage `0` of 8 bytes.
fn load_pickle(pickle: &[u8]) -> Result<Value, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pth");
    write_file(&path, pickle);
    load_value(&path).map_err(|error| std::error::Error::source(&error).unwrap().to_string())
}

fn write_file(path: &Path, pickle: &[u8]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("data.pkl", pickle), ("data/0", &[0; 8])] {
        zip.start_file(format!("archive/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// A float32 tensor of storage `0`, which claims `elements`; numbers are single bytes.
fn tensor_pickle(elements: u8, size: u8, stride: u8) -> Vec<u8> {
    let mut pickle = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
    pickle.extend(b"X\x01\0\0\x000X\x03\0\0\0cpu");
    pickle.extend([
        b'K', elements, b't', b'Q', b'K', 0, b'K', size, 0x85, b'K', stride, 0x85, 0x89, b')', b't', b'R', b'.',
    ]);
    pickle
}

#[test]
fn hostile_pickles_are_refused_by_name() {
    let refused = |pickle: &[u8]| load_pickle(pickle).unwrap_err();
    assert!(load_pickle(&tensor_pickle(2, 2, 1)).is_ok());
    assert!(refused(&tensor_pickle(2, 3, 1)).contains("sizes [3]"));
    // A stride of 0 would make a huge tensor of a small file.
    assert!(refused(&tensor_pickle(2, 200, 0)).contains("strides [0]"));
    assert!(refused(&tensor_pickle(100, 100, 1)).contains("`data/0`: holds 8 bytes"));
    // A list that holds itself, and lists of lists that double 60 times.
    assert!(refused(b"\x80\x02]q\0h\0a.").contains("circle"));
    let mut doubling = b"\x80\x02]".to_vec();
    (0..60).for_each(|_| doubling.extend(b"q\0h\0\x86"));
    doubling.push(b'.');
    assert!(refused(&doubling).contains("unfold"));
    assert!(refused(b"\x80\x02X\xff\xff\xff\xffab.").contains("byte 2 of the pickle: 4294967295 bytes are needed"));
    assert!(refused(b"\x80\x04N.").contains("protocol 4"));
}

#[test]
fn unknown_calls_are_described_not_made() {
    let value = load_pickle(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.").unwrap();
    let Value::Opaque(call) = value else { panic!("{value:?}") };
    assert_eq!(call.global, "os.system");
    assert!(matches!(&call.arguments[..], [Value::Str(text)] if text == "true"));
}

/// What `torch.save` would make of an object whose unpickling runs a command, in every place where a checkpoint could
/// hide it: as an option, as attributes of a state dict, dropped again, as a class that is never called.
#[test]
fn a_checkpoint_that_names_what_none_needs_is_refused_by_name() {
    let call = b"cposix\nsystem\nX\x04\0\0\0true\x85R";
    let places: [(&str, Vec<u8>); 5] = [
        ("root", [b"\x80\x02", &call[..], b"."].concat()),
        ("option", [b"\x80\x02}X\x04\0\0\0args}X\x01\0\0\0a", &call[..], b"ss."].concat()),
        ("attributes", [b"\x80\x02ccollections\nOrderedDict\n)R", &call[..], b"b."].concat()),
        ("dropped", [b"\x80\x02", &call[..], b"0}."].concat()),
        ("class", b"\x80\x02}X\x01\0\0\0acposix\nsystem\ns.".to_vec()),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pth");
    for (place, pickle) in places {
        write_file(&path, &pickle);
        load_value(&path).unwrap_or_else(|error| panic!("{place}: {error} is only described"));
        let refused = [
            Checkpoint::read(&path).map(drop).unwrap_err(),
            Loaded::read(&path).map(drop).unwrap_err(),
            Position::read(&path).map(drop).unwrap_err(),
        ];
        for error in refused {
            assert!(error.to_string().contains("hostile.pth") && !error.is_damage(), "{place}: {error}");
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.contains("names `posix.system`") && cause.contains("nothing was run"), "{place}: {cause}");
        }
    }
}

#[test]
fn a_cut_or_changed_checkpoint_is_damaged_and_other_files_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.pth");
    checkpoint().write(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let error = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Loaded::read(&path).unwrap_err()
    };
    assert!(error(&whole[..whole.len() / 2]).is_damage());
    assert!(error(&[]).is_damage());
    // One bit of a weight: only the checksum can tell.
    let mut changed = whole.clone();
    let at = whole.len() / 2;
    changed[at] ^= 1;
    assert!(error(&changed).is_damage());
    assert!(!error(&bytes()).is_damage(), "sound, but no checkpoint");
    std::fs::remove_file(&path).unwrap();
    assert!(!Loaded::read(&path).unwrap_err().is_damage(), "no file");
}
