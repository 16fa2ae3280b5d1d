//! Every seed of the fuzz targets through the oracle of its target, so that a finding stays found.
//!
//! `FUZZ_CORPUS=folder` replays what a fuzzer has gathered in `folder/<target>` as well, for measuring what it reaches.

#[path = "../fuzz/oracles/mod.rs"]
mod oracles;

use std::path::{Path, PathBuf};

/// Fewer seeds of a target than this mean that they were not found.
const SEEDS_MIN: usize = 10;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Puts a file through the oracle, and gives what is in it.
fn look_at(check: oracles::Oracle, file: &Path) -> Vec<u8> {
    let data = std::fs::read(file).unwrap();
    if let Err(panic) = std::panic::catch_unwind(|| check(&data)) {
        eprintln!("seed {}", file.display());
        std::panic::resume_unwind(panic);
    }
    data
}

fn replay(target: &str) {
    let (_, check) = *oracles::TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    if let Some(corpus) = std::env::var_os("FUZZ_CORPUS") {
        for file in files(&Path::new(&corpus).join(target)) {
            look_at(check, &file);
        }
    }
    let seeds = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target));
    assert!(seeds.len() >= SEEDS_MIN, "{} seeds", seeds.len());
    for seed in seeds {
        let data = look_at(check, &seed);
        // What is cut off, and what has other choices, is valid input for an oracle as well.
        for length in 0..data.len().min(64) {
            check(&data[..length]);
        }
        for flags in [1, 2, 4, 8] {
            let mut other = data.clone();
            other[0] ^= flags;
            check(&other);
        }
    }
}

macro_rules! targets {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target));
        })*

        #[test]
        fn every_target_is_replayed_and_has_a_dictionary() {
            let replayed = [$(stringify!($target)),*];
            assert_eq!(oracles::TARGETS.map(|(name, _)| name), replayed);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
            for target in replayed {
                assert!(folder.join(format!("dictionaries/{target}.dict")).exists(), "{target}");
                assert!(folder.join(format!("targets/{target}.rs")).exists(), "{target}");
            }
        }
    };
}

targets! {
    ws_reader
    ws_deflate
    http_request
    http_response
    relay_headers
    config
    pusher_frame
    pusher_api
    sign
    pusher_session
    pushi_frame
    pushi_api
    pushi_session
    grant
    proxy
    relay_session
    http_repeat
    stored_record
    json
    streams
    control
    doors
    judge
    certificate
    relay_requests
}
