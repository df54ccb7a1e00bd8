//! The corpus of the fuzz targets (`fuzz/`), and a bounded number of changes of it, run through the same functions.

use std::fs;
use std::path::PathBuf;

use mugs_random::{Address, Draws};
use mugs_shards::fuzzing;
use mugs_test_support::checkout;

use crate::support::packed;
use crate::tars::{END, header, member, member_of, padded, record};

type Target = (&'static str, fn(&[u8]) -> bool, u32);

/// The functions, and how many changed inputs each gets.
const TARGETS: [Target; 3] =
    [("tar", fuzzing::tar, 10_000), ("index", fuzzing::index, 5_000), ("manifest", fuzzing::manifest, 5_000)];

fn corpus(target: &str) -> PathBuf {
    checkout().join("fuzz/corpus").join(target)
}

/// All inputs of a target, in the order of their names.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Changes a few things, as a fuzzer would.
fn change(input: &mut Vec<u8>, others: &[Vec<u8>], draws: &mut Draws) {
    for _ in 0..=draws.below(3) {
        let at = draws.below(input.len() as u64 + 1) as usize;
        let block = at / 512 * 512;
        let block = block..(block + 512).min(input.len());
        let other = &others[draws.below(others.len() as u64) as usize];
        match draws.below(8) {
            0 => input.truncate(at),
            1 => input.splice(at..at, *b"9").for_each(drop),
            2 => input.drain(block).for_each(drop),
            3 => input[block].fill(0),
            4 => input.extend_from_within(block),
            5 => input.splice(at.., other.iter().copied().skip(at)).for_each(drop),
            6 => input.extend_from_slice(other),
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = [0, b'\n', b' ', b'7', b'x', 0x80, 0xff, *byte ^ 1][draws.below(8) as usize];
                }
            }
        }
    }
}

#[test]
fn what_must_hold_holds_for_the_corpus_and_changes_of_it() {
    for (target, run, changes) in TARGETS {
        let inputs = inputs(target);
        let read = inputs.iter().filter(|input| run(input)).count();
        assert!(read > inputs.len() / 2, "of {target} only {read} can be read");
        for number in 0..changes {
            let mut draws = Draws::at(29, Address { epoch: 0, position: number.into(), lane: 0 });
            let mut input = inputs[number as usize % inputs.len()].clone();
            change(&mut input, &inputs, &mut draws);
            run(&input);
        }
    }
}

/// The inputs that a search begins with: a few of each kind. What searches found lies beside them.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let tars = tars().into_iter().map(|(name, tar)| ("tar", name, tar));
    let indexes = indexes().into_iter().map(|(name, text)| ("index", name, text.into_bytes()));
    let manifests = manifests().into_iter().map(|(name, text)| ("manifest", name, text));
    tars.chain(indexes).chain(manifests).collect()
}

#[test]
fn the_seeds_are_those_made_here() {
    for (target, name, bytes) in seeds() {
        let path = corpus(target).join(name);
        let remedy = "run `cargo test -p mugs-shards write_the_seeds -- --ignored`";
        assert!(fs::read(&path).is_ok_and(|found| found == bytes), "{} is not what is made: {remedy}", path.display());
    }
}

#[test]
#[ignore = "writes fuzz/corpus"]
fn write_the_seeds() {
    for (target, name, bytes) in seeds() {
        fs::create_dir_all(corpus(target)).unwrap();
        fs::write(corpus(target).join(name), bytes).unwrap();
    }
}

fn tars() -> Vec<(&'static str, Vec<u8>)> {
    let pax = |flag, text: &str| member_of(flag, "x", text.as_bytes());
    let (a, b) = (member("d/a.jpg", b"abc"), member("d/a.cls", b"7"));
    let both = [&a[..], &b].concat();
    let good = [&both[..], &END].concat();
    let then_b = |head: Vec<u8>| [&head[..], &b, &END].concat();
    let mut base_256 = header("a.jpg", 0, b'0');
    base_256.as_old_mut().size = *b"\x80\0\0\0\0\0\0\0\0\0\0\x03";
    base_256.set_cksum();
    let mut prefixed = header("a.jpg", 0, b'0');
    prefixed.as_ustar_mut().unwrap().prefix[..3].copy_from_slice(b"x/y");
    prefixed.set_cksum();
    let kinds = [b'1', b'2', b'3', b'5', b'7', b'V'].map(|flag| *header("k", 0, flag).as_bytes()).concat();
    let mut wrong = good.clone();
    wrong[1024] ^= 1;
    vec![
        ("cut_in_data", a[..600].into()),
        ("cut_in_header", both[..1300].into()),
        ("empty", vec![]),
        ("gnu_long_name", then_b(member_of(b'L', "././@LongLink", b"a/long/name.jpg\0"))),
        ("gnu_long_target", then_b(member_of(b'K', "././@LongLink", b"a/long/target\0"))),
        ("good", good.clone()),
        ("kinds", then_b(kinds)),
        ("no_end", both.clone()),
        ("no_padding", both[..both.len() - 500].into()),
        ("one_end_block", [&both[..], &END[..512]].concat()),
        ("one_end_block_then_more", [&both[..], &END[..512], &good].concat()),
        ("pax_global", then_b(pax(b'g', &record("path", "global.jpg")))),
        ("pax_nothing_behind", [&a[..], &pax(b'x', &record("path", "b.jpg")), &END].concat()),
        ("pax_path", then_b(pax(b'x', &(record("mtime", "1.5") + &record("path", "ä/long/path.jpg"))))),
        ("pax_size", then_b(pax(b'x', &record("size", "1")))),
        ("pax_sparse", then_b(pax(b'x', &record("GNU.sparse.major", "1")))),
        ("prefix", then_b(prefixed.as_bytes().to_vec())),
        ("size_in_base_256", then_b(padded([base_256.as_bytes(), &b"abc"[..]].concat()))),
        ("size_of_8_gib", [&a[..], header("b.jpg", (1 << 33) - 1, b'0').as_bytes()].concat()),
        ("sparse", then_b(member_of(b'S', "holes", b""))),
        ("torn_sample", [&a[..], &member("b.jpg", b""), &b, &END].concat()),
        ("twice", [&a[..], &a, &END].concat()),
        ("two_tars", [&good[..], &good].concat()),
        ("wrong_checksum", wrong),
        ("zeros", END.into()),
    ]
}

fn indexes() -> Vec<(&'static str, String)> {
    let head = "#mugs-index\t1\tkey\textension\toffset\tlength\txxh3\n".to_string();
    let sum = "0123456789abcdef0123456789abcdef";
    let sample = |key: &str, at: u64| {
        let label = at + 1024;
        format!("{key}\tjpg\t{at}\t500\t{sum}\n{key}\tcls\t{label}\t1\t{sum}\n")
    };
    let frames = ["#frame\t0\t90\t0\t2048\n", "#frame\t90\t80\t2048\t3072\n"];
    let (a, b) = (sample("a", 512), sample("b", 2560));
    let last = u64::MAX - 511;
    let at_the_limit = format!("a\tjpg\t{last}\t511\t{sum}\na\tcls\t512\t0\t{sum}\n");
    let frames_at_the_limit = format!("#frame\t0\t1\t0\t{last}\n#frame\t1\t1\t{last}\t511\na\tjpg\t{last}\t1\t{sum}\n");
    vec![
        ("at_the_limit", [&head[..], &at_the_limit].concat()),
        ("frames_at_the_limit", [&head[..], &frames_at_the_limit].concat()),
        ("frames", [&head, frames[0], &a, frames[1], &b].concat()),
        ("plain", [&head[..], &a, &b].concat()),
        ("two_pictures", [&head[..], &a, &format!("a\tpng\t2560\t0\t{sum}\n")].concat()),
        ("empty", head),
    ]
}

/// One as packing writes it, and texts that a target puts a checksum behind.
fn manifests() -> Vec<(&'static str, Vec<u8>)> {
    let packed = fs::read(packed().set.join("manifest.json")).unwrap();
    let sum = "0123456789abcdef0123456789abcdef";
    let shard = |file: &str, more: &str| {
        let index = format!(r#""index":"x-000000.idx","index_bytes":9,"index_xxh3":"{sum}""#);
        format!(r#"{{"file":"{file}","samples":1,"bytes":2048,{more}"xxh3":"{sum}",{index}}}"#)
    };
    let plain = shard("x-000000.tar", "");
    let huge = plain.replace("2048", &(u64::MAX - 511).to_string()).replace("000000", "000001");
    let set = |more: &str, shards: &[&str]| {
        let samples = shards.len();
        let head = format!(r#""format":"mugs-shards","version":1,"name":"x","samples":{samples},"seed":0"#);
        format!(r#"{{{head},{more}"classes":["a","ä"],"shards":[{}]}}"#, shards.join(",")).into_bytes()
    };
    vec![
        ("compressed", set("", &[&shard("x-000000.tar.zst", r#""tar_bytes":4096,"#)])),
        ("foreign", set(r#""foreign":true,"#, &[&shard("made elsewhere.tgz", "")])),
        ("newer", br#"{"format":"mugs-shards","version":2}"#.into()),
        ("packed", packed),
        ("plain", set("", &[&plain])),
        ("too_many_bytes", set("", &[&plain, &huge])),
    ]
}
