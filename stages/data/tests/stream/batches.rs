//! The same batches whatever the workers, the ranks and the place of the start.

use std::fs;

use mugs_data::DataError;
use mugs_data::batch::HostBatch;
use mugs_data::decode::Warnings;
use mugs_data::fetch::{Cursor, Fetch, FetchConfig, Span};
use mugs_data::order::Share;

use crate::support::{BATCH, EPOCHS, ONE, PICTURES, Set, drain, start, stream};

#[test]
fn batches_do_not_depend_on_the_workers() {
    let set = Set::pack(|_| ());
    let batches = stream(&set, ONE, 1, Cursor::default());
    let steps = (PICTURES as usize) / BATCH;
    assert_eq!(batches.len(), EPOCHS as usize * steps);
    assert!(batches == stream(&set, ONE, 3, Cursor::default()));
    for (number, batch) in batches.iter().enumerate() {
        let (epoch, first) = (number / steps, number % steps * BATCH);
        assert_eq!(batch.contents.epoch as usize, epoch);
        assert!(batch.contents.positions.iter().copied().eq((first..first + BATCH).map(|p| p as u64)));
        assert_eq!((batch.global.len(), batch.local.len()), (4 * BATCH, 3 * BATCH));
    }
    let mut keys: Vec<_> = batches[..steps].iter().flat_map(|batch| &batch.contents.keys).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), steps * BATCH, "no sample twice in an epoch");
    assert_ne!(batches[0].contents.keys, batches[steps].contents.keys, "every epoch has an order of its own");
}

#[test]
fn a_resumed_stream_goes_on_with_the_very_next_batch() {
    let set = Set::pack(|_| ());
    let steps = PICTURES / BATCH as u64;
    let whole = stream(&set, ONE, 2, Cursor::default());
    for (epoch, step) in [(0, 1), (0, 5), (0, steps - 1), (0, steps), (1, 0), (1, 3), (1, steps), (2, 0)] {
        let rest = stream(&set, ONE, 3, Cursor { epoch, step });
        assert!(rest == whole[(u64::from(epoch) * steps + step) as usize..], "from epoch {epoch}, step {step}");
    }
}

#[test]
fn ranks_together_take_the_same_steps_as_one() {
    let set = Set::pack(|_| ());
    let ranks = [0, 1].map(|rank| stream(&set, Share { rank, world: 2 }, 2, Cursor::default()));
    let steps = PICTURES as usize / (2 * BATCH);
    assert_eq!(ranks.each_ref().map(Vec::len), [EPOCHS as usize * steps; 2]);
    // One rank with half the global batch takes the same samples: two of its steps are one step here.
    let one = stream(&set, ONE, 1, Cursor::default());
    let alone = |epoch: usize, step: usize| &one[epoch * (PICTURES as usize / BATCH) + step];
    for step in 0..steps {
        let pairs = |batch: &HostBatch| -> Vec<_> {
            batch.contents.positions.iter().copied().zip(batch.contents.keys.clone()).collect()
        };
        let mut together = [pairs(&ranks[0][steps + step]), pairs(&ranks[1][steps + step])].concat();
        together.sort();
        assert_eq!(together, [pairs(alone(1, 2 * step)), pairs(alone(1, 2 * step + 1))].concat());
    }
}

#[test]
fn labels_are_the_classes() {
    let set = Set::pack(|_| ());
    let classes = set.open().manifest().classes.clone();
    for batch in stream(&set, ONE, 2, Cursor::default()) {
        for (key, label) in batch.contents.keys.iter().zip(&batch.contents.labels) {
            assert!(key.starts_with(&classes[label.unwrap() as usize]), "{key} {label:?}");
        }
    }
}

#[test]
fn a_changed_byte_ends_the_run_with_the_samples_name() {
    let set = Set::pack(|_| ());
    let shard = set.open().open_shard(3).unwrap();
    let entry = shard.entry(4).clone();
    let offset = entry.picture().unwrap().offset;
    let path = set.path.join(shard.name());
    let mut bytes = fs::read(&path).unwrap();
    bytes[offset as usize + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = drain(start(&set, ONE, 2, Cursor::default(), &Warnings::default())).unwrap_err();
    assert_eq!(error.stage(), "fetch");
    let message = error.to_string();
    for part in [path.to_str().unwrap(), &entry.key, &format!("at offset {offset}")] {
        assert!(message.contains(part), "`{message}` does not name {part}");
    }
}

#[test]
fn a_bad_picture_ends_the_run_with_its_name() {
    let set = Set::pack(|source| fs::write(source.join("class1/bad.jpg"), "no picture at all").unwrap());
    let error = drain(start(&set, ONE, 3, Cursor::default(), &Warnings::default())).unwrap_err();
    assert_eq!(error.stage(), "decode");
    let Some(DataError::Decode { origin, cause }) = error.cause() else { panic!("{error}") };
    assert_eq!((&*origin.key, cause.kind()), ("class1_bad", "unidentified"));
    let name = format!("sample class1_bad in shard {} at offset {} is bad", origin.shard, origin.offset);
    assert!(error.to_string().starts_with(&format!("stage `decode` failed: {name}")), "{error}");
}

#[test]
fn warnings_are_delivered_and_counted() {
    // Stray bytes before the end marker: libjpeg warns and the picture is whole.
    let set = Set::pack(|source| {
        for number in [1, 2] {
            let path = source.join(format!("class{number}/00{number}.jpg"));
            let mut bytes = fs::read(&path).unwrap();
            let end = bytes.len() - 2;
            bytes.splice(end..end, [0x55; 40]);
            fs::write(path, bytes).unwrap();
        }
    });
    let warnings = Warnings::default();
    let batches = drain(start(&set, ONE, 3, Cursor::default(), &warnings)).unwrap();
    let damaged = |key: &str| key == "class1_001" || key == "class2_002";
    let seen = batches.iter().flat_map(|batch| &batch.contents.keys).filter(|key| damaged(key)).count();
    assert!(seen >= 2);
    assert_eq!(warnings.count(), seen as u64);
}

#[test]
fn what_does_not_fit_together_is_refused_before_the_first_read() {
    let set = Set::pack(|_| ());
    let refused = |streams, share, global_batch, step| {
        let config = FetchConfig { streams, ..FetchConfig::default() };
        let span = Span { share, global_batch, start: Cursor { epoch: 0, step }, epochs: 1 };
        Fetch::new(set.open(), &config, 0, span).unwrap_err().to_string()
    };
    let three = Share { rank: 1, world: 3 };
    assert!(refused(None, ONE, 72, 0).starts_with("the shard set has 71 samples, fewer than one global batch of 72"));
    assert!(refused(Some(64), three, 3, 0).starts_with("64 `streams` cannot be shared by 3 ranks"));
    assert!(refused(None, three, 4, 0).starts_with("a global batch of 4 cannot be shared by 3 ranks"));
    assert_eq!(refused(None, ONE, 7, 11), "cannot start at step 11 of an epoch of 10 steps");
}
