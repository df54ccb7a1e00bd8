//! `--data_path` that is a folder of pictures: packed once, used from then on, and what else is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mugs_compute::checkpoint::Checkpoint;

use crate::resume::{place, same_checkpoints};
use crate::support::{Lab, binary, pictures, run, text};

fn train(lab: &Lab, data: &Path, name: &str, more: &[&str]) -> Output {
    run(lab.train(name, more).arg("--data_path").arg(data))
}

/// The sets that a run has packed.
fn caches(run: &Path) -> Vec<PathBuf> {
    fs::read_dir(run.join("data-cache")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_folder_is_packed_once_and_trained_on_like_its_set() {
    let lab = Lab::new(23);
    let folder = lab.path("pictures");
    let first = train(&lab, &folder, "run", &["--max_steps=3"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let said = text(&first.stderr);
    let [cache] = &caches(&lab.path("run"))[..] else { panic!("{said}") };
    for part in ["is a folder of 23 pictures", "packed 23 pictures of 3 classes into 1 shards", cache.to_str().unwrap()]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    let packed = fs::metadata(cache.join("manifest.json")).unwrap().modified().unwrap();

    let second = train(&lab, &folder, "run", &[]);
    assert!(second.status.success(), "{}", text(&second.stderr));
    assert!(text(&second.stderr).contains("is unchanged since it was packed into"), "{}", text(&second.stderr));
    assert_eq!(fs::metadata(cache.join("manifest.json")).unwrap().modified().unwrap(), packed);

    assert!(train(&lab, cache, "of-the-set", &[]).status.success());
    same_checkpoints(&lab.path("run"), &lab.path("of-the-set"));
    let verified = run(Command::new(binary("mugs-shard")).arg("verify").arg(cache));
    assert!(verified.status.success(), "{}", text(&verified.stderr));
}

#[test]
fn a_folder_that_has_changed_is_packed_anew_and_the_run_on_the_old_one_refused() {
    let lab = Lab::new(12);
    let folder = lab.path("pictures");
    assert!(train(&lab, &folder, "run", &["--max_steps=1"]).status.success());
    let before = caches(&lab.path("run"));
    fs::copy(folder.join("class0/000.jpg"), folder.join("class0/100.jpg")).unwrap();
    let refused = train(&lab, &folder, "run", &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    for part in ["another data set", "remove it if it is not needed", before[0].to_str().unwrap()] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(caches(&lab.path("run")).len(), 2);
    fs::remove_file(folder.join("class0/100.jpg")).unwrap();
    assert!(train(&lab, &folder, "run", &["--max_steps=2"]).status.success(), "the old ones are still there");
}

#[test]
fn a_flat_folder_has_no_labels_and_trains() {
    let lab = Lab::new(1);
    let (classes, flat) = (lab.path("classes"), lab.path("flat"));
    pictures(&classes, 9);
    fs::create_dir(&flat).unwrap();
    for class in fs::read_dir(classes).unwrap() {
        for picture in fs::read_dir(class.unwrap().path()).unwrap() {
            let path = picture.unwrap().path();
            fs::rename(&path, flat.join(path.file_name().unwrap())).unwrap();
        }
    }
    let trained = train(&lab, &flat, "run", &["--epochs=1"]);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    assert!(text(&trained.stderr).contains("packed 9 pictures of 0 classes"), "{}", text(&trained.stderr));
    assert_eq!(place(&lab.path("run")), (1, 0));
    assert!(Checkpoint::read(&lab.path("run/checkpoint.pth")).unwrap().mugs.data.len() == 32);
}

#[test]
fn a_bad_picture_ends_the_packing_or_is_left_to_training() {
    let lab = Lab::new(23);
    let folder = lab.path("pictures");
    fs::write(folder.join("class1/bad.jpg"), "no picture at all").unwrap();
    let failed = train(&lab, &folder, "run", &["--streams=4"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("class1/bad.jpg"), "{}", text(&failed.stderr));
    let skipped = train(&lab, &folder, "run", &["--streams=4", "--on_bad_sample=skip"]);
    assert!(skipped.status.success(), "{}", text(&skipped.stderr));
    let said = text(&skipped.stderr);
    assert!(said.contains("packed 24 pictures") && said.contains("report.jsonl"), "{said}");
    assert!(said.lines().any(|line| line.contains("left out a bad sample") && line.contains("class1_bad")), "{said}");
}

#[test]
fn what_is_no_set_and_no_folder_of_pictures_is_refused_with_the_kinds_that_are() {
    let lab = Lab::new(3);
    let folder = lab.path("pictures");
    let (empty, tars, file) = (lab.path("empty"), lab.path("tars"), lab.path("pictures.tsv"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&tars).unwrap();
    fs::write(tars.join("a.tar"), [0; 1024]).unwrap();
    fs::write(&file, "a.jpg\t0\n").unwrap();
    let kinds = ["a shard set (a folder with a manifest.json", "a folder of pictures (class folders, or flat"];
    for (data, words) in [
        (lab.path("no/such"), kinds.to_vec()),
        (file, [&kinds[..], &["mugs-shard pack"]].concat()),
        (tars, [&kinds[..], &["mugs-shard index"]].concat()),
        (empty, vec!["is no shard set, and its pictures cannot be packed", "holds no pictures"]),
    ] {
        let refused = train(&lab, &data, "run", &[]);
        assert_eq!(refused.status.code(), Some(1), "{}", data.display());
        for word in words.iter().chain([&data.to_str().unwrap()]) {
            assert!(text(&refused.stderr).contains(word), "{word} in {}", text(&refused.stderr));
        }
    }
    let folder = folder.to_str().unwrap();
    let out = lab.path("crops.png");
    for arguments in [
        &["bench", "--data_path", folder][..],
        &["crops", "--data_path", folder, "--out", out.to_str().unwrap()],
        &["knn", "--untrained", "--data_path", lab.set.to_str().unwrap(), "--val_path", folder],
    ] {
        let refused = run(Command::new(binary("mugs-pipeline")).args(arguments));
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        let said = text(&refused.stderr);
        assert!(said.contains(&format!("`mugs-shard pack {folder} SET`")), "{said}");
    }
}
