//! Directories published, opened, damaged and swept.

use super::*;
use crate::whole::WholeFile;
use serde_json::json;

const FILES: [(&str, &[u8]); 2] = [("adapter.bin", b"weights"), ("state.bin", b"moments")];

fn published() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("step-10");
    publish_dir(&path, &FILES, json!({"step": 10})).unwrap();
    (root, path)
}

/// What a process killed before the last write of [`publish_dir`] leaves behind.
fn killed_after(root: &Path, name: &str, num_files: usize) {
    let staging = Staging::beside(&root.join(name)).unwrap();
    fs::create_dir(staging.made()).unwrap();
    for (file, bytes) in &FILES[..num_files] {
        fs::write(staging.made().join(file), bytes).unwrap();
    }
    std::mem::forget(staging);
}

/// What a process leaves that is killed between the two renames of a replacement.
fn killed_while_replacing(path: &Path) {
    let staging = Staging::beside(path).unwrap();
    fs::create_dir(staging.made()).unwrap();
    fs::rename(path, staging.dir.join(REPLACED)).unwrap();
    std::mem::forget(staging);
}

#[test]
fn a_directory_filled_by_its_holder_is_the_same_as_one_of_bytes() {
    let (root, path) = published();
    let twin = root.path().join("twin");
    let mut dir = Unpublished::begin(&twin, "a test").unwrap();
    for (name, bytes) in FILES {
        fs::write(dir.path_of(name), bytes).unwrap();
    }
    let id = dir.publish(json!({"step": 10})).unwrap();
    assert_eq!(id, open_dir(&path).unwrap().id());
    assert_eq!(
        open_dir(&twin).unwrap().read("state.bin").unwrap(),
        b"moments"
    );
}

#[test]
fn files_that_settle_early_are_published_as_any_others() {
    let (root, path) = published();
    let twin = root.path().join("twin");
    let mut dir = Unpublished::begin(&twin, "a test").unwrap();
    let mut large = WholeFile::begin(&dir.path_of("adapter.bin"))
        .unwrap()
        .unsynced();
    large.append(b"weights").unwrap();
    large.finish().unwrap();
    dir.settle();
    fs::write(dir.path_of("state.bin"), b"moments").unwrap();
    let id = dir.publish(json!({"step": 10})).unwrap();
    assert_eq!(id, open_dir(&path).unwrap().id());
    assert_eq!(id, open_dir(&twin).unwrap().id());
}

#[test]
fn a_file_that_vanished_while_settling_is_named() {
    let root = tempfile::tempdir().unwrap();
    let mut dir = Unpublished::begin(&root.path().join("d"), "a test").unwrap();
    dir.path_of("promised.bin");
    dir.settle();
    let error = dir.publish(json!({})).unwrap_err();
    assert!(error.to_string().contains("promised.bin"), "{error}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn an_unpublished_directory_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut dir = Unpublished::begin(&root.path().join("d"), "a test").unwrap();
    fs::write(dir.path_of("a"), b"1").unwrap();
    dir.settle();
    drop(dir);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn what_was_published_is_read_back() {
    let (_root, path) = published();
    let dir = open_dir(&path).unwrap();
    assert_eq!(dir.note(), &json!({"step": 10}));
    assert_eq!(
        dir.names().collect::<Vec<_>>(),
        ["adapter.bin", "state.bin"]
    );
    assert_eq!(dir.read("state.bin").unwrap(), b"moments");
}

#[test]
fn the_same_content_has_the_same_id_and_the_same_bytes() {
    let (_a, first) = published();
    let (_b, second) = published();
    assert_eq!(
        open_dir(&first).unwrap().id(),
        open_dir(&second).unwrap().id()
    );
    assert_eq!(
        fs::read(first.join(MANIFEST)).unwrap(),
        fs::read(second.join(MANIFEST)).unwrap()
    );
}

#[test]
fn a_kill_before_the_rename_is_never_seen_as_a_checkpoint() {
    for num_files in 0..=FILES.len() {
        let (root, path) = published();
        killed_after(root.path(), "step-20", num_files);
        assert_eq!(complete_dirs(root.path(), "step-").unwrap(), [path]);
        let next = root.path().join("step-20");
        assert!(matches!(open_dir(&next), Err(DirError::Incomplete { .. })));
        publish_dir(&next, &FILES, json!({"step": 20})).unwrap();
        assert_eq!(open_dir(&next).unwrap().note()["step"], 20);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }
}

#[test]
fn a_kill_between_the_renames_of_a_replacement_keeps_the_old_one_in_reach() {
    let (root, path) = published();
    killed_while_replacing(&path);
    killed_after(root.path(), "step-10", 2);
    assert_eq!(
        complete_dirs(root.path(), "step-").unwrap(),
        std::slice::from_ref(&path)
    );
    assert_eq!(open_dir(&path).unwrap().note()["step"], 10);
    keep_newest(root.path(), "step-", 1).unwrap();
    publish_dir(&path, &FILES, json!({"step": 11})).unwrap();
    assert_eq!(open_dir(&path).unwrap().note()["step"], 11);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn replacing_leaves_one_directory() {
    let (root, path) = published();
    publish_dir(&path, &FILES[..1], json!({"step": 11})).unwrap();
    assert_eq!(
        open_dir(&path).unwrap().names().collect::<Vec<_>>(),
        ["adapter.bin"]
    );
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (_root, path) = published();
    let original = open_dir(&path).unwrap();
    for name in ["adapter.bin", "state.bin", MANIFEST] {
        let file = path.join(name);
        let bytes = fs::read(&file).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &flipped).unwrap();
            match open_dir(&path) {
                Err(DirError::Damaged { file, .. }) => assert_eq!(file, name),
                Err(other) => panic!("{other}"),
                // White space between two tokens of the manifest may become another white space.
                Ok(dir) => assert_eq!((name, dir.id()), (MANIFEST, original.id())),
            }
        }
        fs::write(&file, &bytes).unwrap();
    }
}

#[test]
fn a_cut_or_missing_file_is_named() {
    let (_root, path) = published();
    fs::write(path.join("state.bin"), b"mom").unwrap();
    let error = open_dir(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("is damaged: state.bin: 3 bytes instead of 7"),
        "{error}"
    );
    fs::remove_file(path.join("state.bin")).unwrap();
    let error = open_dir(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("is damaged: state.bin: it is missing"),
        "{error}"
    );
}

#[test]
fn a_file_changed_after_opening_is_refused_on_reading() {
    let (_root, path) = published();
    let dir = open_dir(&path).unwrap();
    fs::write(path.join("state.bin"), b"MOMENTS").unwrap();
    assert!(matches!(
        dir.read("state.bin"),
        Err(DirError::Damaged { .. })
    ));
}

#[test]
fn the_newest_intact_one_is_opened_and_the_damaged_one_reported() {
    let root = tempfile::tempdir().unwrap();
    for step in [90, 100, 110] {
        publish_dir(
            &root.path().join(format!("step-{step}")),
            &FILES,
            json!({"step": step}),
        )
        .unwrap();
    }
    fs::write(root.path().join("step-110/adapter.bin"), b"WEIGHTS").unwrap();
    let newest = open_newest(root.path(), "step-").unwrap();
    assert_eq!(newest.dir.unwrap().note()["step"], 100);
    assert!(
        newest.damaged[0]
            .to_string()
            .contains("step-110 is damaged: adapter.bin")
    );
    assert_eq!(newest.damaged.len(), 1);
}

#[test]
fn only_the_newest_are_kept() {
    let root = tempfile::tempdir().unwrap();
    for step in [8, 9, 10] {
        publish_dir(
            &root.path().join(format!("step-{step}")),
            &FILES,
            json!(null),
        )
        .unwrap();
    }
    keep_newest(root.path(), "step-", 2).unwrap();
    assert_eq!(
        complete_dirs(root.path(), "step-").unwrap(),
        [root.path().join("step-10"), root.path().join("step-9")]
    );
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
}

#[test]
fn discarding_also_finds_one_whose_replacement_was_killed() {
    let (root, path) = published();
    killed_while_replacing(&path);
    discard_dir(&path).unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn a_sweep_ends_what_was_begun_and_touches_nothing_else() {
    let (root, path) = published();
    killed_while_replacing(&path);
    killed_after(root.path(), "step-20", 2);
    let foreign = Staging::beside(&root.path().join("step-30")).unwrap();
    fs::write(foreign.dir.join("thesis.txt"), "precious").unwrap();
    let thesis = foreign.dir.join("thesis.txt");
    std::mem::forget(foreign);
    for name in ["step-10.partial", "step-10.replaced", "step-20.partial"] {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join(MANIFEST), "mine").unwrap();
    }
    // A kill before the marker was written.
    fs::create_dir(name_beside(&path).unwrap()).unwrap();
    sweep(root.path());
    assert_eq!(open_dir(&path).unwrap().note()["step"], 10);
    assert_eq!(fs::read_to_string(thesis).unwrap(), "precious");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1 + 1 + 3);
}

#[test]
fn directories_of_others_are_neither_listed_nor_discarded() {
    let (root, _) = published();
    for name in ["step-9.partial", "step-copy-8", "best-7", "step-"] {
        publish_dir(&root.path().join(name), &FILES, json!(null)).unwrap();
    }
    assert_eq!(complete_dirs(root.path(), "step-").unwrap().len(), 1);
    keep_newest(root.path(), "step-", 0).unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 4);
}

#[test]
fn what_lies_beside_a_directory_in_the_making_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let others = ["d.partial", "d.replaced", ".d.hone-notes"];
    for name in others {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join("thesis.txt"), "precious").unwrap();
    }
    let path = root.path().join("d");
    killed_after(root.path(), "d", 1);
    let mut dir = Unpublished::begin(&path, "a test").unwrap();
    fs::write(dir.path_of("a"), b"1").unwrap();
    dir.publish(json!({})).unwrap();
    for name in others {
        let thesis = fs::read_to_string(root.path().join(name).join("thesis.txt"));
        assert_eq!(thesis.unwrap(), "precious");
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 4);
}

#[test]
fn a_directory_is_made_by_one_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("d");
    let mut first = Unpublished::begin(&path, "hone merge").unwrap();
    fs::write(first.path_of("a"), b"1").unwrap();
    let error = Unpublished::begin(&path, "hone export").unwrap_err();
    assert!(
        error.to_string().contains("is being written by process")
            && error.to_string().contains("`hone merge`"),
        "{error}"
    );
    first.publish(json!({})).unwrap();
    assert_eq!(open_dir(&path).unwrap().read("a").unwrap(), b"1");
}

#[test]
fn what_took_the_name_meanwhile_is_not_replaced() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("d");
    let mut dir = Unpublished::begin(&path, "hone merge").unwrap();
    fs::write(dir.path_of("a"), b"1").unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("thesis.txt"), "precious").unwrap();
    let error = dir.publish(json!({})).unwrap_err();
    assert!(matches!(error, DirError::Taken { .. }), "{error}");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn a_missing_parent_holds_no_directories() {
    assert_eq!(
        complete_dirs(Path::new("/nowhere/checkpoints"), "step-").unwrap(),
        Vec::<PathBuf>::new()
    );
}

#[test]
fn names_that_leave_the_directory_or_collide_are_refused() {
    let root = tempfile::tempdir().unwrap();
    for name in [
        "../out", "a/../b", "/a", "a//b", "a/", "a\\b", "", "..", MANIFEST,
    ] {
        let published = publish_dir(&root.path().join("x"), &[(name, b"")], json!(null));
        assert!(matches!(published, Err(DirError::Name { .. })), "{name}");
    }
    let twice: [(&str, &[u8]); 2] = [("a", b"1"), ("a", b"2")];
    assert!(matches!(
        publish_dir(&root.path().join("x"), &twice, json!(null)),
        Err(DirError::Name { .. })
    ));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn files_in_folders_are_published_with_all_others() {
    let root = tempfile::tempdir().unwrap();
    let (whole, piecewise) = (root.path().join("whole"), root.path().join("piecewise"));
    let id = publish_dir(&whole, &[("a/b", b"1"), ("c", b"2")], json!(null)).unwrap();
    let mut begun = Unpublished::begin(&piecewise, "a test").unwrap();
    for (name, bytes) in [("a/b", b"1"), ("c", b"2")] {
        let path = begun.path_of(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(begun.publish(json!(null)).unwrap(), id);
    for dir in [&whole, &piecewise] {
        assert_eq!(open_dir(dir).unwrap().read("a/b").unwrap(), b"1");
        fs::write(dir.join("a/b"), b"3").unwrap();
        assert!(matches!(open_dir(dir), Err(DirError::Damaged { .. })));
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let (_root, path) = published();
    let error = open_dir(&path)
        .unwrap()
        .read("optimizer.bin")
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("holds no `optimizer.bin`, only adapter.bin, state.bin"),
        "{error}"
    );
}
