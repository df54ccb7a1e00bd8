//! Sets of tars that other programs made: indexed in place, read, verified.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mugs_shards::tar::{MappedTar, MemberKind};
use mugs_shards::{Checksum, MANIFEST, Problem, ShardSet};
use mugs_test_support::{python, skip, tally};

use crate::command::run;
use crate::support::{picture, put, verified};
use crate::tars::{END, member, member_of};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Two tars by Python: folders, names longer than a plain header holds, times that PAX records, a file that is of no
/// sample.
const WRITE: &str = r#"
import io, sys, tarfile
folder = sys.argv[1]
for name, format in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
    with tarfile.open(f"{folder}/{name}.tar", "w", format=format) as tar:
        def add(path, data, kind=tarfile.REGTYPE):
            info = tarfile.TarInfo(path)
            info.type, info.size, info.mtime = kind, len(data), 1700000000.5
            tar.addfile(info, io.BytesIO(data))
        add(f"{name}/", b"", tarfile.DIRTYPE)
        add(f"{name}/README", b"about")
        for number in range(6):
            stem = f"{name}/" + ("é" * 70 if number % 2 else "short") + str(number)
            add(f"{stem}.JPG", b"P6 2 2 255\n" + bytes([number]) * (500 + number))
            add(f"{stem}.cls", b"%d" % (number % 3))
"#;

/// Offsets of the bytes of each member, extension headers included, and the name.
fn layout(tar: &Path) -> Vec<(u64, u64, u64, String)> {
    let map = MappedTar::open(tar).unwrap();
    let members = map.members().map(|item| item.unwrap().0).filter(|member| member.kind == MemberKind::File);
    members.map(|m| (m.header, m.offset, m.end(), String::from_utf8(m.name.clone()).unwrap())).collect()
}

fn flipped(file: &Path, offset: usize) -> Vec<Problem> {
    let bytes = fs::read(file).unwrap();
    let mut damaged = bytes.clone();
    damaged[offset] ^= 1;
    fs::write(file, damaged).unwrap();
    let problems = verified(file.parent().unwrap()).problems;
    fs::write(file, bytes).unwrap();
    problems
}

/// Flips a bit every 53 bytes of a tar of a set; each must be one problem, in data and headers with the sample.
fn check_flips(tar: &Path) -> usize {
    let members = layout(tar);
    let length = fs::metadata(tar).unwrap().len();
    let file = tar.file_name().unwrap().to_str().unwrap();
    for at in (0..length).step_by(53) {
        let problems = flipped(tar, at as usize);
        assert_eq!((problems.len(), &*problems[0].file), (1, file), "byte {at}: {problems:?}");
        let Some((header, offset, end, name)) =
            members.iter().find(|(header, _, end, _)| (*header..*end).contains(&at))
        else {
            continue;
        };
        let key = name.rsplit_once('.').map(|(key, _)| key);
        let (found, place) = (problems[0].key.as_deref(), problems[0].offset);
        if at < *offset {
            // What PAX headers say of times is not looked at; of a number's end neither.
            let is_checked = at >= offset - 512 && !(148..156).contains(&(at % 512));
            let in_header = place.is_some_and(|place| (*header..*offset).contains(&place));
            assert!(in_header || !is_checked && place.is_none(), "byte {at}: {problems:?}");
            assert!(found.is_none() || key.is_none() || found == key, "byte {at}: {problems:?}");
            assert!(!is_checked || key.is_none() || found == key, "byte {at}: {problems:?}");
        } else if key.is_some() {
            assert_eq!((found, place), (key, Some(*offset)), "byte {at} before {end}");
        }
    }
    (length as usize).div_ceil(53)
}

/// Flips a bit of every third byte of an index; the byte and its line's key must be named.
fn check_index_flips(index: &Path) -> usize {
    let bytes = fs::read(index).unwrap();
    let offsets = (0..bytes.len()).step_by(3);
    for at in offsets.clone() {
        let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let key = bytes[start..].split(|byte| *byte == b'\t').next().filter(|_| start > 0);
        let key = key.map(|key| String::from_utf8(key.into()).unwrap());
        let problems = flipped(index, at);
        let said: Vec<_> = problems.iter().map(|problem| (problem.key.clone(), problem.offset)).collect();
        assert_eq!(said, [(key, Some(at as u64))], "{problems:?}");
    }
    offsets.len()
}

#[test]
fn tars_of_python_are_indexed_read_verified_and_packed_anew() {
    let Some(python) = python(&["tarfile"]) else {
        return skip("indexing tars of Python", "no Python");
    };
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("made-elsewhere");
    fs::create_dir(&folder).unwrap();
    let output = Command::new(python).args(["-c", WRITE, text(&folder)]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let indexed = run(&["index", text(&folder)]);
    assert!(indexed.code == 0 && indexed.stdout.starts_with("indexed 12 samples in 2 shards"), "{}", indexed.stderr);
    assert!(indexed.stderr.contains("gnu.tar: 1 members are no files of samples"), "{}", indexed.stderr);
    assert_eq!(verified(&folder).problems, []);

    let expected: BTreeMap<(String, u32), Vec<u8>> = ["gnu", "pax"]
        .into_iter()
        .flat_map(|name| (0..6).map(move |number| (name, number)))
        .map(|(name, number)| {
            let stem = if number % 2 == 1 { "é".repeat(70) } else { "short".into() };
            let data = [b"P6 2 2 255\n".to_vec(), vec![number; 500 + usize::from(number)]].concat();
            ((format!("{name}/{stem}{number}"), u32::from(number % 3)), data)
        })
        .collect();
    assert_eq!(samples(&folder), expected);
    let set = out.path().join("set");
    let packed = run(&["pack", text(&folder), text(&set)]);
    assert_eq!(packed.code, 0, "{}", packed.stderr);
    let anew = samples(&set);
    let sorted = |samples: &BTreeMap<(String, u32), Vec<u8>>| {
        let mut values: Vec<_> = samples.iter().map(|((_, label), data)| (*label, data.clone())).collect();
        values.sort();
        values
    };
    assert_eq!(sorted(&anew), sorted(&expected));

    let mut ran = ["gnu.tar", "pax.tar"].map(|tar| check_flips(&folder.join(tar))).iter().sum::<usize>();
    ran += check_index_flips(&folder.join("pax.idx"));
    tally("damages of tars made elsewhere", ran, "flips");
}

/// Key and label → picture.
fn samples(set: &Path) -> BTreeMap<(String, u32), Vec<u8>> {
    let set = ShardSet::open(set).unwrap();
    let shards: Vec<_> = (0..set.manifest().shards.len()).map(|number| set.open_shard(number).unwrap()).collect();
    let all = shards.iter().flat_map(|shard| (0..shard.len()).map(|number| shard.read(number).unwrap()));
    all.map(|sample| ((sample.key.to_string(), sample.label.unwrap()), sample.image.to_vec())).collect()
}

/// Indexes a folder of one tar of these members, with a folder and a file of no sample between them.
fn indexed(members: &[(&str, &[u8])], arguments: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let out = tempfile::tempdir().unwrap();
    let mut tar = [member_of(b'5', "x/", b""), member("x/README", b"about")].concat();
    members.iter().for_each(|(name, data)| tar.extend(member(name, data)));
    tar.extend(END);
    put(out.path(), "a.tar", &tar);
    let output = run(&[&["index", text(out.path())], arguments].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    let folder = out.path().to_path_buf();
    (out, folder)
}

#[test]
fn a_damaged_index_is_told_by_the_rule_that_it_was_made_by() {
    let (first, second) = (picture(1, 100), picture(2, 600));
    let dotted: [(&str, &[u8]); 2] = [("x/Track 2.0.jpg", &first), ("x/Track 2.1.JPG", &second)];
    let (_out, folder) = indexed(&dotted, &["--dots", "last"]);
    check_index_flips(&folder.join("a.idx"));
    assert_eq!(check_flips(&folder.join("a.tar")), 5120usize.div_ceil(53));
    let parts: [(&str, &[u8]); 2] = [("x/a.jpg", &first), ("x/a.seg.png", &second)];
    let (_out, folder) = indexed(&parts, &[]);
    check_index_flips(&folder.join("a.idx"));
}

/// Changes the manifest and the index of shard 0 so that checksums do not tell.
fn forge(folder: &Path, index: &str) {
    fs::write(folder.join("a.idx"), index).unwrap();
    let set = ShardSet::open_partial(folder).unwrap();
    let shard = &set.manifest().shards[0];
    let sum = Checksum::of(index.as_bytes());
    let text = fs::read_to_string(folder.join(MANIFEST)).unwrap();
    let text = text.replace(&shard.index_xxh3.to_string(), &sum.to_string());
    let samples = index.lines().filter(|line| line.contains("\tjpg\t")).count();
    let text =
        text.replace(&format!("\"index_bytes\": {}", shard.index_bytes), &format!("\"index_bytes\": {}", index.len()));
    let text = text.replace(&format!("\"samples\": {}", shard.samples), &format!("\"samples\": {samples}"));
    seal(folder, &text);
}

/// Writes a manifest with its right checksum.
fn seal(folder: &Path, manifest: &str) {
    const CHECKSUM: &str = "\"checksum\": \"";
    let head = &manifest[..manifest.rfind(CHECKSUM).unwrap() + CHECKSUM.len()];
    fs::write(folder.join(MANIFEST), format!("{head}{}\"\n}}\n", Checksum::of(head.as_bytes()))).unwrap();
}

#[test]
fn an_index_that_does_not_fit_its_tar_is_a_problem_though_all_checksums_are_right() {
    let (first, second) = (picture(1, 100), picture(2, 600));
    let (_out, folder) = indexed(&[("x/a.jpg", &first), ("x/b.jpg", &second)], &[]);
    let good = fs::read_to_string(folder.join("a.idx")).unwrap();
    let second_line = good.lines().last().unwrap();
    let others: [(String, Option<&str>, &str); 3] = [
        (
            good.replace("x/a\t", "x/other\t"),
            Some("x/other"),
            "at offset 1536 there is x/a.jpg, by the index x/other.jpg",
        ),
        (
            good.replace(&format!("{second_line}\n"), ""),
            None,
            "at offset 2560 there is x/b.jpg, which the index does not know",
        ),
        (
            format!("{good}x/c\tjpg\t4608\t0\t{}\n", Checksum::of(b"")),
            Some("x/c"),
            "is no x/c.jpg, whose data the index puts at offset 4608",
        ),
    ];
    for (index, key, said) in others {
        forge(&folder, &index);
        let problems = verified(&folder).problems;
        assert_eq!((problems.len(), &*problems[0].file, problems[0].key.as_deref()), (1, "a.idx", key), "{problems:?}");
        assert!(problems[0].what.contains(said), "{said}: {problems:?}");
    }
    forge(&folder, &good);
    assert_eq!(verified(&folder).problems, []);
}

#[test]
fn a_key_in_two_shards_is_a_problem_that_names_both() {
    let (_out, folder) = indexed(&[("a.jpg", &picture(1, 100))], &[]);
    for ending in ["tar", "idx"] {
        fs::copy(folder.join(format!("a.{ending}")), folder.join(format!("b.{ending}"))).unwrap();
    }
    let manifest = fs::read_to_string(folder.join(MANIFEST)).unwrap();
    let (start, end) = (manifest.find("    {").unwrap(), manifest.find("\n  ]").unwrap());
    let shard = &manifest[start..end];
    let other = shard.replace("a.tar", "b.tar").replace("a.idx", "b.idx");
    let both = manifest.replace(shard, &format!("{shard},\n{other}"));
    seal(&folder, &both.replacen("\"samples\": 1", "\"samples\": 2", 1));
    let problems = verified(&folder).problems;
    let said: Vec<_> = problems.iter().map(|p| (&*p.file, p.key.as_deref(), &*p.what)).collect();
    assert_eq!(said, [("b.tar", Some("a"), "the key is in a.tar too")]);
}
