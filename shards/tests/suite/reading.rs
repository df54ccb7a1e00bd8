//! What tars may hold beside plain files, and tars of other programs.

use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

use mugs_shards::tar::{MemberKind, TarError, TarFault, TarSlice, TarStream};
use mugs_test_support::{python, skip};

use crate::tars::{END, Found, files, good, header, member, member_of, open_ended, padded, read, record};

#[test]
fn folders_links_and_others_have_no_data() {
    let kinds = |tar: &[u8]| -> Vec<MemberKind> {
        TarSlice::new(tar, Path::new("x.tar")).map(|item| item.unwrap().0).map(|member| member.kind).collect()
    };
    // The sizes of the first six mean nothing; the label of a volume has data like a file.
    let heads = [("d", b'5'), ("l", b'2'), ("h", b'1'), ("c", b'3'), ("b", b'4'), ("p", b'6')];
    let heads = heads.map(|(name, flag)| *header(name, 1234, flag).as_bytes()).concat();
    let tar = [heads, member_of(b'V', "v", b"label"), member("v7/", b""), member("f", b"x"), END.into()].concat();
    use MemberKind::{File, Folder, Link, Other};
    let expected = [Folder, Link, Link, Other(b'3'), Other(b'4'), Other(b'6'), Other(b'V'), Folder, File];
    assert_eq!(kinds(&tar), expected);
    assert_eq!(read(&tar).0.members.last().unwrap().1, b"x");
    assert_eq!(kinds(&[member("odd/", b"x"), END.into()].concat()), [File]);
}

#[test]
fn prefixes_belong_to_posix_headers_alone() {
    let mut posix = header("b.jpg", 0, b'0');
    posix.as_ustar_mut().unwrap().prefix[..3].copy_from_slice(b"x/y");
    posix.set_cksum();
    let mut gnu = tar::Header::new_gnu();
    gnu.set_path("b.jpg").unwrap();
    gnu.set_size(0);
    gnu.as_gnu_mut().unwrap().atime[..3].copy_from_slice(b"x/y");
    gnu.set_cksum();
    let mut old = tar::Header::new_old();
    old.set_path("b.jpg").unwrap();
    old.set_size(0);
    old.as_mut_bytes()[345..348].copy_from_slice(b"x/y");
    old.set_cksum();
    let (found, _) = read(&[&posix.as_bytes()[..], gnu.as_bytes(), old.as_bytes(), &END].concat());
    assert_eq!(found.members.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["x/y/b.jpg", "b.jpg", "b.jpg"]);
}

#[test]
fn pax_attributes_reach_as_far_as_they_should() {
    let pax = |flag, text: &str| member_of(flag, "x", text.as_bytes());
    let tar = [
        pax(b'g', &record("comment", "abc")),
        member("a", b""),
        pax(b'x', &(record("size", "3") + &record("path", "long"))),
        padded([header("b", 0, b'0').as_bytes(), &b"abc"[..]].concat()),
        member("c", b"c"),
        END.into(),
    ];
    let (found, _) = read(&tar.concat());
    let expected: [(&str, &[u8]); 3] = [("a", b""), ("long", b"abc"), ("c", b"c")];
    assert_eq!(found.members, expected.map(|(name, data)| (name.to_string(), data.to_vec())));
    let header_of = |number| TarSlice::new(&tar.concat(), Path::new("x")).nth(number).unwrap().unwrap().0.header;
    assert_eq!([header_of(0), header_of(1), header_of(2)], [1024, 1536, 3584]);
}

#[test]
fn sparse_files_are_refused_by_name() {
    let mut gnu = tar::Header::new_gnu();
    gnu.set_path("holes.bin").unwrap();
    gnu.set_size(0);
    gnu.set_entry_type(tar::EntryType::GNUSparse);
    gnu.set_cksum();
    let pax = member_of(b'x', "x", (record("GNU.sparse.major", "1") + &record("path", "holes.bin")).as_bytes());
    for tail in [gnu.as_bytes().to_vec(), [pax, member("y", b"")].concat()] {
        let (found, fault) = read(&[open_ended(), tail, END.into()].concat());
        assert_eq!((found.members, fault.unwrap().kind()), (files(), "sparse"));
        assert!(found.error.unwrap().contains("(holes.bin)"));
    }
}

#[test]
fn a_limit_keeps_long_members_out_of_memory() {
    let tar = good();
    let mut stream = TarStream::new(&tar[..], Path::new("x.tar"));
    stream.next().unwrap();
    let error = stream.read_to_vec(699).unwrap_err();
    assert!(matches!(error.fault, TarFault::TooLong { length: 700, limit: 699 }), "{error}");
    let mut start = [0; 300];
    stream.read_data().read_exact(&mut start).unwrap();
    assert_eq!([&start[..], &stream.read_to_vec(400).unwrap()].concat(), files()[0].1);
    assert_eq!(stream.read_to_vec(0).unwrap().len(), 0);
    assert_eq!(stream.position(), 512 + 700);
    assert_eq!(stream.next().unwrap().unwrap().name, b"0.cls");
}

#[test]
fn read_errors_are_told_from_faults() {
    struct Failing<'a>(&'a [u8]);
    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::from_raw_os_error(5)),
                read => Ok(read),
            }
        }
    }
    let tar = good();
    let mut stream = TarStream::new(Failing(&tar[..600]), Path::new("x.tar"));
    stream.next().unwrap();
    let error = io::copy(&mut stream.read_data(), &mut io::sink()).unwrap_err();
    let error = error.into_inner().unwrap().downcast::<TarError>().unwrap();
    assert_eq!((error.kind(), error.member.as_deref()), ("io", Some("0.jpg")));
    assert!(stream.next().is_err());
}

/// Writes a tar: its path, the format, then a name and the length of its data for each file.
const WRITE: &str = r#"
import io, sys, tarfile
path, format, *files = sys.argv[1:]
with tarfile.open(path, "w", format=getattr(tarfile, format + "_FORMAT")) as tar:
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    tar.addfile(folder)
    for name, length in zip(files[::2], files[1::2]):
        member = tarfile.TarInfo(name)
        member.size = int(length)
        member.mtime = 1.5
        tar.addfile(member, io.BytesIO(bytes(range(251)) * 9))
"#;

/// Names that a format may need more than one header for, and lengths around whole blocks.
fn named(names: &[&str]) -> Vec<(String, usize)> {
    let lengths = [0, 1, 511, 512, 513, 2000];
    names.iter().zip(lengths.iter().cycle()).map(|(name, length)| (name.to_string(), *length)).collect()
}

fn data(length: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(length).collect()
}

/// A path of two parts that together are too long for the name field, one whose last part is, and one whose bytes
/// are more than its letters.
fn long_names() -> [String; 3] {
    let folder = "folder/".repeat(13);
    [format!("{folder}{}.jpg", "a".repeat(80)), format!("{}.jpg", "b".repeat(150)), format!("{}.jpg", "ü".repeat(90))]
}

#[test]
fn tars_of_python_are_read() {
    let Some(python) = python(&["tarfile"]) else {
        return skip("reading tars of Python's tarfile", "no Python");
    };
    let long = long_names();
    let folder = tempfile::tempdir().unwrap();
    for format in ["USTAR", "GNU", "PAX"] {
        let mut names = vec!["a.jpg", "folder/ä ö.cls", &long[0]];
        // The name field of USTAR has 100 bytes, and there is no other way to say the last part of a path.
        if format != "USTAR" {
            names.extend([&*long[1], &*long[2]]);
        }
        let (files, path) = (named(&names), folder.path().join(format));
        let arguments = files.iter().flat_map(|(name, length)| [name.clone(), length.to_string()]);
        let output = Command::new(&python).args(["-c", WRITE]).arg(&path).arg(format).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected = [("folder/".to_string(), 0)].into_iter().chain(files);
        let (found, _) = read(&std::fs::read(path).unwrap());
        let members = expected.map(|(name, length)| (name, data(length))).collect();
        assert_eq!(found, Found { members, warnings: vec![], error: None }, "{format}");
    }
}

#[test]
fn tars_of_gnu_tar_are_read() {
    let version = Command::new("tar").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("GNU tar")) {
        return skip("reading tars of GNU tar", "no GNU tar");
    }
    let long = long_names();
    let folder = tempfile::tempdir().unwrap();
    for format in ["v7", "oldgnu", "gnu", "ustar", "posix"] {
        let mut names = vec!["a.jpg", "ä ö.cls"];
        match format {
            "v7" => {}
            "ustar" => names.push(&long[0]),
            _ => names.extend(long.iter().map(String::as_str)),
        }
        let (files, root) = (named(&names), folder.path().join(format));
        for (name, length) in &files {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), data(*length)).unwrap();
        }
        let path = folder.path().join(format!("{format}.tar"));
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&path).arg(format!("--format={format}")).arg("-C").arg(&root).args(&names);
        assert!(tar.status().unwrap().success());
        let (found, _) = read(&std::fs::read(path).unwrap());
        let members = files.into_iter().map(|(name, length)| (name, data(length))).collect();
        assert_eq!(found, Found { members, warnings: vec![], error: None }, "{format}");
    }
}
