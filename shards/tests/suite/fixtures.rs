//! Tars that readers elsewhere get wrong: each is made here in a few lines, and read in every way that we can.

use std::io::Write;
use std::path::Path;

use mugs_shards::tar::{
    Dots, GroupError, Grouper, MemberKind, Part, TarFault, TarSlice, TarWarning, open_stream, split_name,
};

use crate::support::picture;
use crate::tars::{
    END, Found, assert_files, by_stream, files, good, header, member, member_of, name, open_ended, padded, read, record,
};

#[test]
fn f0_a_good_tar() {
    assert_files(&read(&good()).0, 12, &[]);
    // GNU tar fills up to 20 blocks.
    assert_files(&read(&[good(), vec![0; 8192]].concat()).0, 12, &[]);
}

/// Where the header of file `number` begins.
fn start_of(number: usize) -> usize {
    files()[..number].iter().map(|(name, data)| member(name, data).len()).sum()
}

#[test]
fn f1_cut_inside_a_header() {
    let at = start_of(6);
    let (found, fault) = read(&good()[..at + 300]);
    assert_eq!(found.members, files()[..6]);
    assert!(matches!(fault, Some(TarFault::Truncated { part: Part::Header, needed: 512, found: 300 })), "{fault:?}");
    let error = found.error.unwrap();
    assert!(error.contains(&format!("at offset {at} (behind 2.cls)")), "{error}");
}

#[test]
fn f2_cut_in_the_data() {
    let at = start_of(6) + 512;
    let (found, fault) = read(&good()[..at + 100]);
    assert_eq!(found.members, files()[..6]);
    assert!(matches!(fault, Some(TarFault::Truncated { part: Part::Data, needed: 991, found: 100 })), "{fault:?}");
    let error = found.error.unwrap();
    assert!(error.contains(&format!("at offset {at} (3.jpg)")), "{error}");
}

#[test]
fn f3_cut_between_members() {
    assert_files(&read(&good()[..start_of(6)]).0, 6, &[TarWarning::NoEndBlocks]);
}

#[test]
fn f4_the_last_padding_is_missing() {
    let whole = open_ended();
    for missing in [1, 100, 511] {
        assert_files(&read(&whole[..whole.len() - missing]).0, 12, &[TarWarning::MissingPadding]);
    }
}

#[test]
fn f5_no_end_block_or_one() {
    assert_files(&read(&open_ended()).0, 12, &[TarWarning::NoEndBlocks]);
    assert_files(&read(&[&open_ended()[..], &END[..100]].concat()).0, 12, &[TarWarning::NoEndBlocks]);
    assert_files(&read(&[&open_ended()[..], &END[..512]].concat()).0, 12, &[TarWarning::OneEndBlock]);
    assert_files(&read(&[&open_ended()[..], &END[..900]].concat()).0, 12, &[TarWarning::OneEndBlock]);
}

fn grouped(tar: &[u8], dots: Dots) -> (Vec<(String, usize)>, Vec<GroupError>) {
    let mut grouper = Grouper::new(Path::new("x.tar"), dots);
    let (mut samples, mut errors) = (Vec::new(), Vec::new());
    for item in TarSlice::new(tar, Path::new("x.tar")) {
        match grouper.push(&item.unwrap().0) {
            Ok(sample) => samples.extend(sample),
            Err(error) => errors.push(error),
        }
    }
    samples.extend(grouper.finish());
    (samples.iter().map(|sample| (name(&sample.key), sample.members.len())).collect(), errors)
}

fn tar_of(names: &[&str]) -> Vec<u8> {
    names.iter().flat_map(|name| member(name, b"x")).chain(END).collect()
}

#[test]
fn f6_a_name_twice_in_a_sample() {
    let (samples, errors) = grouped(&tar_of(&["a.jpg", "a.jpg", "a.cls"]), Dots::First);
    assert_eq!(samples, [("a".into(), 2)]);
    assert!(matches!(&errors[..], [GroupError::Duplicate { offset: 1024, .. }]), "{errors:?}");
}

#[test]
fn f7_samples_that_are_torn_apart() {
    let (samples, errors) = grouped(&tar_of(&["a.jpg", "b.jpg", "a.cls", "b.cls"]), Dots::First);
    assert_eq!(samples, [("a".into(), 1), ("b".into(), 2)]);
    assert!(errors[0].to_string().starts_with("x.tar: a.cls at offset 2048 is not next to"), "{errors:?}");
}

#[test]
fn f8_dots_in_names() {
    let tar = tar_of(&["x/Track 2.0.jpg", "x/Track 2.1.jpg"]);
    assert_eq!(grouped(&tar, Dots::First).0, [("x/Track 2".into(), 2)]);
    assert_eq!(grouped(&tar, Dots::Last).0, [("x/Track 2.0".into(), 1), ("x/Track 2.1".into(), 1)]);
}

fn long() -> String {
    format!("{}/{}.jpg", "ordner".repeat(40), "ä".repeat(30))
}

#[test]
fn f9_a_long_name_in_a_pax_header() {
    let pax = record("mtime", "1.5") + &record("path", &long());
    let tar = [member_of(b'x', "PaxHeaders/a", pax.as_bytes()), member("short", b"abc"), good()].concat();
    let (found, _) = read(&tar);
    assert_eq!(found.members[0], (long(), b"abc".into()));
    assert_eq!(found.members[1..], files());
    let (first, _) = TarSlice::new(&tar, Path::new("x.tar")).next().unwrap().unwrap();
    assert_eq!((first.header, first.offset, first.length, first.kind), (0, 1536, 3, MemberKind::File));
}

#[test]
fn f10_a_long_name_of_gnu_tar() {
    let name = format!("{}\0", long());
    let link = member_of(b'K', "././@LongLink", name.as_bytes());
    let tar = [member_of(b'L', "././@LongLink", name.as_bytes()), link, member("short", b"abc"), good()].concat();
    let (found, _) = read(&tar);
    assert_eq!(found.members[0], (long(), b"abc".into()));
    assert_eq!(found.members[1..], files());
}

/// [`files`] with the size fields written by `size`.
fn with_sizes(size: impl Fn(&mut [u8; 12], u64)) -> Vec<u8> {
    let member = |(name, data): &(String, Vec<u8>)| {
        let mut header = header(name, 0, b'0');
        size(&mut header.as_old_mut().size, data.len() as u64);
        header.set_cksum();
        padded([header.as_bytes(), &data[..]].concat())
    };
    files().iter().flat_map(member).chain(END).collect()
}

#[test]
fn f11_sizes_of_base_256_and_with_spaces() {
    let base_256 = with_sizes(|field, size| {
        *field = [0; 12];
        field[0] = 0x80;
        field[4..].copy_from_slice(&size.to_be_bytes());
    });
    assert_files(&read(&base_256).0, 12, &[]);
    let spaces = with_sizes(|field, size| field.copy_from_slice(format!("{size:11o} ").as_bytes()));
    assert_files(&read(&spaces).0, 12, &[]);
}

#[test]
fn f12_sizes_that_are_none() {
    for (field, kind) in [
        (*b"0000000012x\0", "bad_number"),
        (*b"            ", "bad_number"),
        (*b"-0000000001\0", "bad_number"),
        ([0xff; 12], "bad_number"),
        (*b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", "size"),
        (*b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", "size"),
        (*b"\x80\0\0\x01\0\0\0\0\0\0\0\0", "size"),
        (*b"\x81\0\0\0\0\0\0\0\0\0\0\0", "size"),
    ] {
        let (found, fault) = read(&with_sizes(|to, _| *to = field));
        assert_eq!((found.members, fault.unwrap().kind()), (vec![], kind), "{field:?}");
        assert!(found.error.unwrap().contains("at offset 0 (0.jpg)"));
    }
}

#[test]
fn f13_a_header_with_a_bad_checksum() {
    let mut tar = good();
    let at = start_of(4);
    tar[at + 4] ^= 1;
    let (found, fault) = read(&tar);
    assert_eq!(found.members, files()[..4]);
    assert!(matches!(fault, Some(TarFault::HeaderChecksum { .. })), "{fault:?}");
    assert!(found.error.unwrap().contains(&format!("at offset {at} (behind 1.cls)")));
    // The first header of all still says that it is one.
    let mut tar = good();
    tar[0] ^= 1;
    assert!(matches!(read(&tar).1, Some(TarFault::HeaderChecksum { .. })));
}

#[test]
fn f13_a_checksum_of_signed_bytes() {
    let mut header = header("ä.jpg", 1, b'0');
    header.as_old_mut().cksum = *b"        ";
    let sum: i64 = header.as_bytes().iter().map(|byte| i64::from(*byte as i8)).sum();
    header.as_old_mut().cksum.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let (found, _) = read(&[padded([header.as_bytes(), &b"x"[..]].concat()), END.into()].concat());
    assert_eq!((found.members, found.error), (vec![("ä.jpg".into(), b"x".into())], None));
}

#[test]
fn f14_a_size_of_8_gib() {
    let liar = header("liar.jpg", (1 << 33) - 1, b'0');
    for pax in [false, true] {
        let tar = if pax {
            let size = record("size", "9000000000000000000");
            [&open_ended()[..], &member_of(b'x', "x", size.as_bytes()), &member("liar.jpg", b"abc")].concat()
        } else {
            [&open_ended()[..], liar.as_bytes(), b"abc"].concat()
        };
        let (found, fault) = read(&tar);
        assert_eq!(found.members, files());
        assert!(matches!(fault, Some(TarFault::Truncated { part: Part::Data, needed, .. }) if needed >= (1 << 33) - 1));
        assert!(found.error.unwrap().contains("(liar.jpg)"));
    }
}

#[test]
fn f15_two_tars_in_one() {
    let offset = good().len() as u64;
    assert_files(&read(&[good(), good()].concat()).0, 12, &[TarWarning::TrailingData { offset }]);
    let one_block = [&open_ended()[..], &END[..512], &good()].concat();
    let warnings = [TarWarning::OneEndBlock, TarWarning::TrailingData { offset: offset - 512 }];
    assert_files(&read(&one_block).0, 12, &warnings);
    let odd_end = [&good()[..], &[0; 700], b"x"].concat();
    assert_files(&read(&odd_end).0, 12, &[TarWarning::TrailingData { offset: offset + 512 }]);
}

#[test]
fn f16_extended_headers_are_bounded_and_whole() {
    let at = start_of(12) as u64;
    let with = |tail: &[u8]| read(&[&open_ended()[..], tail].concat());
    for flag in [b'x', b'g', b'L', b'K'] {
        let (found, fault) = with(header("x", 1 << 32, flag).as_bytes());
        assert_eq!(found.members, files());
        assert!(matches!(fault, Some(TarFault::LongHeader { length: 0x1_0000_0000, .. })), "{fault:?}");
    }
    let pax = member_of(b'x', "x", record("path", "a").as_bytes());
    let cuts: [(&[u8], u64, u64); 4] =
        [(&pax[..600], at + 512, 88), (&pax[..1023], at + 512, 511), (&pax, at + 1024, 0), (&pax[..512], at + 512, 0)];
    for (tail, offset, count) in cuts {
        let (found, fault) = with(tail);
        assert!(found.error.unwrap().contains(&format!("at offset {offset} (behind 5.cls)")));
        assert!(matches!(fault, Some(TarFault::Truncated { part: Part::Extension, found, .. }) if found == count));
    }
    assert_eq!(with(&[&pax[..], &END].concat()).1.unwrap().kind(), "truncated");
    assert_eq!(with(&[&member_of(b'x', "x", b"17 path\n")[..], &END].concat()).1.unwrap().kind(), "bad_pax");
}

#[test]
fn f17_one_base_name_in_two_folders() {
    let tar = tar_of(&["a/1.jpg", "a/1.cls", "b/1.jpg", "b/1.cls"]);
    assert_eq!(grouped(&tar, Dots::First), (vec![("a/1".into(), 2), ("b/1".into(), 2)], vec![]));
}

#[test]
fn f18_extensions_in_upper_case() {
    assert_eq!(split_name(b"a.JPEG", Dots::First), Some((&b"a"[..], "jpeg".into())));
    let tar = tar_of(&["a.JPG", "a.cls", "B.JPEG", "B.CLS"]);
    assert_eq!(grouped(&tar, Dots::First), (vec![("a".into(), 2), ("B".into(), 2)], vec![]));
}

#[test]
fn f19_nothing_and_nothing_but_zeros() {
    assert_eq!(read(b"").1.unwrap().kind(), "empty");
    for length in [1, 511, 512, 700, 1024, 10240] {
        assert_eq!(read(&vec![0; length]).1.unwrap().kind(), "no_members", "{length}");
    }
    assert_eq!(read(&[&END[..], &good()].concat()).1.unwrap().kind(), "no_members");
    assert_eq!(read(&[&END[..512], &good()].concat()).1.unwrap().kind(), "no_members");
    let global = member_of(b'g', "pax_global_header", record("comment", "0123").as_bytes());
    assert_eq!(read(&[&global[..], &END].concat()).1.unwrap().kind(), "no_members");
}

#[test]
fn f20_what_is_no_tar() {
    for (bytes, looks_like) in [
        (b"label,name\n".repeat(200), None),
        (b"short".into(), None),
        ([&b"\xff\xd8\xff"[..], &[1; 2000]].concat(), Some("a JPEG picture")),
        ([&b"BZh9"[..], &[1; 2000]].concat(), Some("a bzip2 file")),
    ] {
        let (found, fault) = read(&bytes);
        assert!(matches!(fault, Some(TarFault::NotATar { looks_like: what }) if what == looks_like), "{found:?}");
    }
    let missing = open_stream(Path::new("/nowhere/x.tar")).err().unwrap();
    assert_eq!((missing.kind(), missing.offset), ("io", 0));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn stream_of(bytes: &[u8]) -> Found {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, bytes).unwrap();
    by_stream(open_stream(&path).unwrap(), true)
}

#[test]
fn f21_compressed_tars() {
    let (first, second) = (&good()[..5000], &good()[5000..]);
    assert_files(&stream_of(&gzip(&good())), 12, &[]);
    assert_files(&stream_of(&[gzip(first), gzip(second)].concat()), 12, &[]);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    assert_files(&stream_of(&zstd(&good()[..])), 12, &[]);
    assert_files(&stream_of(&[zstd(first), zstd(second)].concat()), 12, &[]);
    let skippable = [&b"\x5a\x2a\x4d\x18\x03\0\0\0abc"[..], &zstd(&good()[..])].concat();
    assert_files(&stream_of(&skippable), 12, &[]);
}

#[test]
fn f21_compressed_tars_that_are_cut() {
    let zstd = [zstd::encode_all(&good()[..5000], 3).unwrap(), zstd::encode_all(&good()[5000..], 3).unwrap()].concat();
    for (format, whole) in [("gzip", gzip(&good())), ("zstd", zstd)] {
        for length in [whole.len() / 2, whole.len() * 9 / 10, whole.len() - 1] {
            let found = stream_of(&whole[..length]);
            let error = found.error.unwrap_or_default();
            assert!(error.ends_with(&format!("its {format} data cannot be uncompressed")), "{length}: {error}");
            assert_eq!(found.members, files()[..found.members.len()]);
        }
        // The slice says what to do with them.
        let error = TarSlice::new(&whole, Path::new("x.tar")).next().unwrap().unwrap_err();
        assert!(error.to_string().ends_with(&format!("it is no tar but a {format} file")), "{error}");
    }
}

#[test]
fn f22_names_that_leave_the_folder_are_only_names() {
    let names = ["../../evil.jpg", "/etc/evil.jpg", "./a.jpg", "a/../b.jpg", "a\\b.jpg"];
    let (found, _) = read(&tar_of(&names));
    assert_eq!(found.members.iter().map(|(name, _)| name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
}

#[test]
fn f23_members_of_no_bytes_and_of_whole_blocks() {
    let lengths = [0, 512, 0, 0, 1024, 511, 513];
    let files = lengths.iter().enumerate().map(|(number, length)| (format!("{number}.bin"), picture(9, 2000), *length));
    let files: Vec<(String, Vec<u8>)> = files.map(|(name, data, length)| (name, data[..length].into())).collect();
    let tar: Vec<u8> = files.iter().flat_map(|(name, data)| member(name, data)).chain(END).collect();
    let (found, _) = read(&tar);
    assert_eq!(found, Found { members: files, warnings: vec![], error: None });
}
