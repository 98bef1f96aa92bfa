//! What damaged, cut, lying and hostile objects meet.

use super::*;

#[cfg(feature = "zstd")]
#[test]
fn a_zstd_frame_that_asks_for_a_window_of_gibibytes_is_refused() {
    // Magic, a descriptor without size, a window of 2 GiB, one raw last block of one byte.
    let stored = [0x28, 0xB5, 0x2F, 0xFD, 0, 21 << 3, 9, 0, 0, b'x'];
    let error = decode(Algorithm::Zstd, &stored, 1000, 1000, 1000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("memory"), "{error}");
}

#[test]
fn bytes_behind_a_zlib_stream_are_ignored_as_cinder_ignores_them() {
    let input = text(10_000);
    let mut stored = compress(Algorithm::Zlib, &input);
    stored.extend_from_slice(b"trailing");
    assert_eq!(
        decompress(Algorithm::Zlib, &stored, input.len()).unwrap(),
        input
    );
    assert_eq!(
        decode(Algorithm::Zlib, &stored, input.len() as u64, 100, 999).unwrap(),
        input
    );
}

#[test]
fn bytes_behind_other_streams_are_damage() {
    let input = text(10_000);
    for algorithm in squeezing() {
        if algorithm == Algorithm::Zlib {
            continue;
        }
        let mut stored = compress(algorithm, &input);
        stored.extend_from_slice(b"trailing");
        assert_eq!(
            kind(decompress(algorithm, &stored, input.len())),
            ErrorKind::Corrupt
        );
        assert_eq!(
            kind(decode(algorithm, &stored, input.len() as u64, 100, 999)),
            ErrorKind::Corrupt
        );
    }
}

#[test]
fn an_object_of_another_length_than_expected_is_damage() {
    let input = text(10_000);
    for algorithm in built_in() {
        let stored = compress(algorithm, &input);
        for len in [0, 1, input.len() - 1, input.len() + 1, input.len() * 3] {
            assert_eq!(
                kind(decompress(algorithm, &stored, len)),
                ErrorKind::Corrupt,
                "{algorithm} {len}"
            );
        }
        for limit in [0, 1, input.len() as u64 - 1] {
            assert_eq!(
                kind(decode(algorithm, &stored, limit, 512, 512)),
                ErrorKind::Corrupt,
                "{algorithm} {limit}"
            );
        }
        let at_the_limit = decode(algorithm, &stored, input.len() as u64, 512, 512);
        assert_eq!(at_the_limit.unwrap(), input);
    }
}

/// A tiny object of (nearly) a GiB of zeroes.
fn bomb(algorithm: Algorithm) -> Vec<u8> {
    let zeroes = vec![0; 1 << 20];
    match algorithm {
        Algorithm::Zlib => {
            let mut stream = flate2::Compress::new(flate2::Compression::new(9), true);
            let mut out = vec![0; 4 << 20];
            for n in 0..256 {
                let flush = if n == 255 {
                    flate2::FlushCompress::Finish
                } else {
                    flate2::FlushCompress::None
                };
                let at = usize::try_from(stream.total_out()).unwrap();
                stream.compress(&zeroes, &mut out[at..], flush).unwrap();
            }
            out.truncate(usize::try_from(stream.total_out()).unwrap());
            out
        }
        _ => compress(algorithm, &zeroes).repeat(1024),
    }
}

#[test]
fn a_bomb_is_refused_quickly_and_without_room_for_it() {
    for algorithm in squeezing() {
        let stored = bomb(algorithm);
        let started = busy();
        assert_eq!(
            kind(decompress(algorithm, &stored, 64 << 10)),
            ErrorKind::Corrupt
        );
        assert_eq!(
            kind(decode(algorithm, &stored, 64 << 10, 1 << 20, 64 << 10)),
            ErrorKind::Corrupt
        );
        let took = busy().saturating_sub(started);
        assert!(took < Duration::from_millis(500), "{algorithm}: {took:?}");
    }
}

#[test]
fn a_cut_object_is_damage_wherever_it_is_cut() {
    let input = text(900);
    for algorithm in squeezing() {
        let stored = compress(algorithm, &input);
        for len in 0..stored.len() {
            assert_eq!(
                kind(decompress(algorithm, &stored[..len], input.len())),
                ErrorKind::Corrupt
            );
            assert_eq!(
                kind(decode(
                    algorithm,
                    &stored[..len],
                    input.len() as u64,
                    64,
                    64
                )),
                ErrorKind::Corrupt
            );
        }
    }
}

#[test]
fn a_flipped_bit_never_panics_nor_passes_a_codec_that_carries_a_checksum() {
    let input = text(900);
    for algorithm in squeezing() {
        let stored = compress(algorithm, &input);
        for bit in 0..stored.len() * 8 {
            let mut stored = stored.clone();
            stored[bit / 8] ^= 1 << (bit % 8);
            for read in [
                decompress(algorithm, &stored, input.len()),
                decode(algorithm, &stored, input.len() as u64, 100, 300),
            ] {
                match read {
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
                    Ok(read) if algorithm == Algorithm::Zstd => assert!(read.len() <= input.len()),
                    Ok(read) => assert!(read == input, "{algorithm}: bit {bit}"),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_are_read_or_refused_but_never_panic(
        tail in proptest::collection::vec(any::<u8>(), 0..300), magic in 0..4usize, len in 0..2000usize
    ) {
        let magics: [&[u8]; 4] = [b"", b"\x78\x9c", b"BZh9\x31\x41\x59\x26\x53\x59", b"\x28\xB5\x2F\xFD"];
        let stored = [magics[magic], &tail].concat();
        for algorithm in squeezing() {
            let _ = decompress(algorithm, &stored, len);
            let _ = decode(algorithm, &stored, len as u64, 50, 50);
        }
    }
}
