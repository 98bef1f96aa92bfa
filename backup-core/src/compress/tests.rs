//! What every codec promises.

mod damage;

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

/// The codecs that this build has.
fn built_in() -> Vec<Algorithm> {
    let mut all = vec![Algorithm::None, Algorithm::Zlib, Algorithm::Bzip2];
    if cfg!(feature = "zstd") {
        all.push(Algorithm::Zstd);
    }
    all
}

fn squeezing() -> Vec<Algorithm> {
    built_in().split_off(1)
}

fn text(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = ["volume ", "backup ", "chunk ", "restore\n", "extent "];
        out.extend_from_slice(word[(state >> 29) as usize % 5].as_bytes());
        out.extend_from_slice((state >> 20).to_string().as_bytes());
    }
    out.truncate(len);
    out
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[4]
        })
        .collect()
}

fn compress_with(
    algorithm: Algorithm,
    level: Option<i32>,
    input: &[u8],
    room: usize,
) -> Option<Vec<u8>> {
    let mut out = vec![0xA5; room];
    let filled = compressor(algorithm, level)
        .unwrap()
        .compress(input, &mut out, &CancelToken::new())
        .unwrap()?;
    out.truncate(filled);
    Some(out)
}

/// With more room than any codec needs.
fn compress(algorithm: Algorithm, input: &[u8]) -> Vec<u8> {
    compress_with(algorithm, None, input, input.len() + input.len() / 8 + 1024).unwrap()
}

fn decompress(algorithm: Algorithm, stored: &[u8], len: usize) -> Result<Vec<u8>> {
    let mut out = vec![0x5A; len];
    decompressor(algorithm)?.decompress(stored, &mut out)?;
    Ok(out)
}

/// Reads `stored` by the decoder, in pieces of `piece` bytes, into slices of `slice` bytes.
fn decode(
    algorithm: Algorithm,
    stored: &[u8],
    limit: u64,
    piece: usize,
    slice: usize,
) -> Result<Vec<u8>> {
    let mut decoder = decompressor(algorithm)?.decoder(limit)?;
    let mut all = Vec::new();
    let mut out = vec![0; slice];
    for piece in stored.chunks(piece).chain([&[][..]]) {
        let mut rest = piece;
        loop {
            let step = decoder.step(rest, &mut out)?;
            rest = &rest[step.consumed..];
            all.extend_from_slice(&out[..step.produced]);
            if step.consumed == 0 && step.produced == 0 || step.finished && rest.is_empty() {
                break;
            }
        }
        assert!(rest.is_empty(), "{algorithm}: a decoder stands still");
    }
    decoder.finish()?;
    Ok(all)
}

fn kind<T: fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// The time that this thread was on a CPU, so that a busy machine fails no test; elsewhere than on Linux, the clock's.
fn busy() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|line| line.split(' ').next()?.parse().ok())
        .map_or_else(
            || START.get_or_init(Instant::now).elapsed(),
            Duration::from_nanos,
        )
}

#[test]
fn every_level_of_every_codec_reads_back_what_it_wrote() {
    let input = text(300_000);
    for (algorithm, levels) in [
        (Algorithm::Zlib, 1..=9),
        (Algorithm::Bzip2, 1..=9),
        (Algorithm::Zstd, -7..=19),
    ] {
        if !built_in().contains(&algorithm) {
            continue;
        }
        for level in levels {
            let stored = compress_with(algorithm, Some(level), &input, input.len() - 1)
                .unwrap_or_else(|| panic!("{algorithm} {level} does not shrink text"));
            assert_eq!(decompress(algorithm, &stored, input.len()).unwrap(), input);
        }
    }
}

#[test]
fn a_level_out_of_range_is_refused_with_the_range() {
    for (algorithm, level, range) in [
        (Algorithm::Zlib, 0, "1 to 9"),
        (Algorithm::Zlib, 10, "1 to 9"),
        (Algorithm::Bzip2, 0, "1 to 9"),
        (Algorithm::Bzip2, 10, "1 to 9"),
        (Algorithm::Zstd, -8, "-7 to 19"),
        (Algorithm::Zstd, 20, "-7 to 19"),
        (Algorithm::None, 1, "no levels"),
    ] {
        if built_in().contains(&algorithm) {
            let error = compressor(algorithm, Some(level)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(range), "{error}");
        }
    }
}

#[cfg(not(feature = "zstd"))]
#[test]
fn a_codec_that_is_not_built_in_says_what_to_enable() {
    let error = decompressor(Algorithm::Zstd).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint_text().unwrap().contains("zstd"));
}

#[test]
fn what_does_not_fit_is_told_as_none_by_every_codec() {
    let noise = noise(200_000);
    let text = text(200_000);
    for algorithm in built_in() {
        assert_eq!(
            compress_with(algorithm, None, &noise, noise.len() - 1),
            None
        );
        assert_eq!(compress_with(algorithm, None, &text, 100), None);
        assert_eq!(compress_with(algorithm, None, &text, 0), None);
        assert_eq!(compress_with(algorithm, None, b"x", 0), None);
    }
}

#[test]
fn a_codec_works_on_after_an_output_that_did_not_fit_and_after_damage() {
    let input = text(50_000);
    for algorithm in squeezing() {
        let codec = compressor(algorithm, None).unwrap();
        let mut out = vec![0; input.len() - 1];
        let go = CancelToken::new();
        for room in [10, input.len() - 1, 0, 500, input.len() - 1] {
            let filled = codec.compress(&input, &mut out[..room], &go).unwrap();
            assert_eq!(filled.is_some(), room > 500);
            if let Some(filled) = filled {
                let mut back = vec![0; input.len()];
                assert!(
                    codec
                        .decompress(&out[..filled / 2], &mut back.clone())
                        .is_err()
                );
                codec.decompress(&out[..filled], &mut back).unwrap();
                assert_eq!(back, input);
            }
        }
    }
}

#[test]
fn a_cancelled_token_stops_a_codec_before_and_within_the_work() {
    // Slow data for bzip2; the whole takes it tens of seconds.
    let mut fibonacci = (b"a".to_vec(), b"ab".to_vec());
    while fibonacci.1.len() < 16 << 20 {
        let next = [&fibonacci.1[..], &fibonacci.0].concat();
        fibonacci = (fibonacci.1, next);
    }
    let input = fibonacci.1;
    let mut out = vec![0; input.len() - 1];
    for algorithm in built_in() {
        let cancel = CancelToken::new();
        cancel.cancel();
        let codec = compressor(algorithm, None).unwrap();
        assert_eq!(
            kind(codec.compress(&input, &mut out, &cancel)),
            ErrorKind::Cancelled
        );
    }
    for (algorithm, level) in [
        (Algorithm::Zlib, 9),
        (Algorithm::Bzip2, 9),
        (Algorithm::Zstd, 19),
    ] {
        if !built_in().contains(&algorithm) {
            continue;
        }
        let codec = compressor(algorithm, Some(level)).unwrap();
        let cancel = CancelToken::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                cancel.cancel();
            });
            let started = busy();
            // Either it was done already, or it stops soon.
            match codec.compress(&input, &mut out, &cancel) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
            }
            let took = busy().saturating_sub(started);
            assert!(took < Duration::from_secs(2), "{algorithm}: {took:?}");
        });
    }
}

/// Cancels the token in its first step.
#[derive(Debug)]
struct Cancelling(Box<dyn Decoder>, CancelToken, usize);
impl Decoder for Cancelling {
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step> {
        self.1.cancel();
        let step = self.0.step(input, out)?;
        self.2 += step.produced;
        Ok(step)
    }

    fn finish(&mut self) -> Result<()> {
        self.0.finish()
    }
}

#[test]
fn a_cancelled_token_stops_a_slow_decompression_within_the_work() {
    let input = vec![7; 4 << 20];
    let mut stored = vec![0; input.len() - 1];
    let cancel = CancelToken::new();
    let filled = compressor(Algorithm::Bzip2, None)
        .unwrap()
        .compress(&input, &mut stored, &cancel)
        .unwrap()
        .unwrap();
    let decoder = decompressor(Algorithm::Bzip2)
        .unwrap()
        .decoder(input.len() as u64)
        .unwrap();
    let mut decoder = Cancelling(decoder, cancel.clone(), 0);
    let mut back = vec![0; input.len()];
    let stopped = decompress_by_steps(
        Algorithm::Bzip2,
        &mut decoder,
        &stored[..filled],
        &mut back,
        &cancel,
    );
    assert_eq!(kind(stopped), ErrorKind::Cancelled);
    assert!(decoder.2 <= 1 << 20, "{} bytes were made", decoder.2);
    // And with nothing cancelled it is whole.
    let fresh = CancelToken::new();
    decompress_until_cancelled(Algorithm::Bzip2, &stored[..filled], &mut back, &fresh).unwrap();
    assert_eq!(back, input);
}

/// All objects of the repositories that Cinder wrote, against the length and MD5 that its metadata tells.
#[test]
fn objects_that_cinder_wrote_are_read() {
    let mut read = std::collections::BTreeMap::new();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cinder");
    let mut folders: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|case| case.unwrap().path().join("repo"))
        .filter(|repository| repository.is_dir())
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with("_metadata") {
                let metadata: serde_json::Value =
                    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                for object in metadata["objects"].as_array().unwrap() {
                    for (name, entry) in object.as_object().unwrap() {
                        let algorithm: Algorithm =
                            entry["compression"].as_str().unwrap().parse().unwrap();
                        if built_in().contains(&algorithm) {
                            let stored = std::fs::read(folder.join(name)).unwrap();
                            check_object(algorithm, &stored, entry);
                            *read.entry(algorithm.word()).or_insert(0) += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(read.len(), built_in().len(), "{read:?}");
}

fn check_object(algorithm: Algorithm, stored: &[u8], entry: &serde_json::Value) {
    let length = entry["length"].as_u64().unwrap();
    let whole = decompress(algorithm, stored, usize::try_from(length).unwrap()).unwrap();
    let md5 = md5_lanes::md5_many(&[&whole]);
    assert_eq!(hex::encode(md5[0]), entry["md5"].as_str().unwrap());
    assert!(decode(algorithm, stored, length, 100_000, 1 << 17).unwrap() == whole);
}

#[test]
fn several_bzip2_streams_in_a_row_are_one_object() {
    let (first, second) = (text(150_000), b"second".to_vec());
    let stored = [
        compress(Algorithm::Bzip2, &first),
        compress(Algorithm::Bzip2, b""),
        compress(Algorithm::Bzip2, &second),
    ]
    .concat();
    let all = [first, second].concat();
    assert_eq!(
        decompress(Algorithm::Bzip2, &stored, all.len()).unwrap(),
        all
    );
    for piece in [1, 7, 4096] {
        assert_eq!(
            decode(Algorithm::Bzip2, &stored, all.len() as u64, piece, 1 << 16).unwrap(),
            all
        );
    }
}

#[cfg(feature = "zstd")]
#[test]
fn several_zstd_frames_in_a_row_are_one_object() {
    let (first, second) = (text(150_000), b"second".to_vec());
    let stored = [
        compress(Algorithm::Zstd, &first),
        compress(Algorithm::Zstd, b""),
        compress(Algorithm::Zstd, &second),
    ]
    .concat();
    let all = [first, second].concat();
    assert_eq!(
        decompress(Algorithm::Zstd, &stored, all.len()).unwrap(),
        all
    );
    for piece in [1, 7, 4096] {
        assert_eq!(
            decode(Algorithm::Zstd, &stored, all.len() as u64, piece, 1 << 16).unwrap(),
            all
        );
    }
}

#[cfg(feature = "zstd")]
#[test]
fn a_zstd_frame_carries_its_content_size_at_every_level() {
    // Cinder's reader allocates by it. The long input takes the way in steps at the higher levels.
    for len in [1, 1000, 900_000] {
        for level in [-7, 1, 2, 3, 9, 12, 19] {
            let input = text(len);
            let stored =
                compress_with(Algorithm::Zstd, Some(level), &input, len + len / 8 + 64).unwrap();
            assert_eq!(
                zstd_crate::get_frame_content_size(&stored).unwrap(),
                Some(len as u64)
            );
        }
    }
}

#[cfg(feature = "zstd")]
use ::zstd::zstd_safe as zstd_crate;

/// Python's own modules are what Cinder reads with.
#[test]
fn python_reads_what_we_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let script = "import sys, zlib, bz2\n\
        read = {'zlib': zlib.decompress, 'bzip2': bz2.decompress}[sys.argv[1]]\n\
        stored = open(sys.argv[2], 'rb').read()\n\
        sys.exit(read(stored) != open(sys.argv[3], 'rb').read())";
    let input = [text(300_000), noise(70_000), vec![0; 100_000]].concat();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, &input).unwrap();
    for algorithm in [Algorithm::Zlib, Algorithm::Bzip2] {
        for level in [1, 2, 9] {
            let stored = compress_with(algorithm, Some(level), &input, input.len()).unwrap();
            let object = folder.path().join("object");
            std::fs::write(&object, stored).unwrap();
            let run = std::process::Command::new("python3")
                .args(["-c", script, algorithm.word()])
                .args([&object, &plain])
                .status();
            match run {
                Ok(status) => assert!(status.success(), "{algorithm} {level}"),
                Err(error) => {
                    println!("skipped: no python3 to read with ({error})");
                    return;
                }
            }
        }
    }
}

/// Zeroes, text and noise in runs, so that all kinds of blocks meet.
fn mixed() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec((0..4u8, 1..20_000usize), 0..12).prop_map(|runs| {
        let mut all = Vec::new();
        for (kind, len) in runs {
            match kind {
                0 => all.resize(all.len() + len, 0),
                1 => all.extend(text(len)),
                2 => all.extend(noise(len)),
                _ => all.extend((0..len).map(|i| (i * i / 128).to_le_bytes()[0])),
            }
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_come_back_whole_and_in_slices(
        input in mixed(), piece in 1..5000usize, slice in 1..5000usize
    ) {
        for algorithm in built_in() {
            let stored = compress_with(algorithm, None, &input, input.len() + 20_000);
            // A probe may have judged it to be noise.
            let Some(stored) = stored else { continue };
            prop_assert_eq!(&decompress(algorithm, &stored, input.len()).unwrap(), &input);
            prop_assert_eq!(
                &decode(algorithm, &stored, input.len() as u64, piece, slice).unwrap(),
                &input
            );
        }
    }
}

#[test]
fn little_input_of_every_length_comes_back() {
    for len in (0..40).chain([511, 512, 513, 4095, 4096, 4097, 32_768]) {
        let input = text(len);
        for algorithm in built_in() {
            let stored = compress(algorithm, &input);
            assert_eq!(decompress(algorithm, &stored, len).unwrap(), input);
            assert_eq!(
                decode(algorithm, &stored, len as u64, 3, 5).unwrap(),
                input,
                "{algorithm} {len}"
            );
        }
    }
}
