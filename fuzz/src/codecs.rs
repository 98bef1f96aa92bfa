//! Decompression of damaged and hostile streams: bounded, the same whole and in slices.

use backup_core::compress::{Algorithm, Compressor, compressor};
use backup_core::{CancelToken, ErrorKind, Result};

use super::MAX_INPUT;
use super::bytes::Bytes;
use super::elsewhere::inflate;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::None,
    Algorithm::Zlib,
    Algorithm::Bzip2,
    Algorithm::Zstd,
];

/// The first byte picks the codec, the next two the length that the object is said to hold, the fourth the size of the
/// slices; what follows is the stored object.
pub fn decoders(data: &[u8]) {
    if data.len() > MAX_INPUT {
        return;
    }
    let mut input = Bytes(data);
    let algorithm = ALGORITHMS[usize::from(input.byte()) % ALGORITHMS.len()];
    let length = usize::from(input.short());
    let slice = usize::from(input.byte()) + 1;
    let stored = input.0;
    let codec = compressor(algorithm, None).expect("the codec is built in");

    let mut whole = vec![0; length];
    let whole = codec.decompress(stored, &mut whole).map(|()| whole);
    let large = in_slices(&*codec, stored, length, 1 << 16, 1 << 16);
    let small = in_slices(&*codec, stored, length, slice, 256 - slice + 1);
    for error in [&whole, &large, &small]
        .into_iter()
        .filter_map(|r| r.as_ref().err())
    {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    match (&large, &small) {
        (Ok(large), Ok(small)) => assert_eq!(large, small, "slices make no difference"),
        (Err(_), Err(_)) => {}
        (large, small) => panic!("large slices {large:?}, small slices {small:?}"),
    }
    if let (Ok(whole), Ok(large)) = (&whole, &large)
        && large.len() == length
    {
        assert_eq!(whole, large, "whole and in slices give the same");
    }
    if let (Algorithm::Zlib, Ok(whole)) = (algorithm, &whole) {
        let (read, _) = inflate(stored, length).expect("what we take, another library takes");
        assert_eq!(*whole, read, "and gives the same");
    }
    // The other way round: what another library finds sound, with the length that was told, we restore.
    if let (Algorithm::Zlib, Err(e), Some((read, _))) = (algorithm, &whole, inflate(stored, length))
    {
        assert_ne!(read.len(), length, "another library takes it: {e}");
    }

    let rooms = [
        0,
        1,
        stored.len() / 2,
        stored.len().saturating_sub(1),
        stored.len(),
        stored.len() * 2 + 1000,
    ];
    for room in rooms {
        round_trip(&*codec, stored, room);
    }
}

/// All of `stored`, handed in `give` bytes at a time, with room for `room` bytes of output.
pub fn in_slices(
    codec: &dyn Compressor,
    stored: &[u8],
    limit: usize,
    give: usize,
    room: usize,
) -> Result<Vec<u8>> {
    let mut decoder = codec.decoder(limit as u64)?;
    let mut restored = Vec::new();
    let mut out = vec![0; room];
    let mut left = stored;
    loop {
        let piece = &left[..give.min(left.len())];
        let step = decoder.step(piece, &mut out)?;
        assert!(step.consumed <= piece.len() && step.produced <= out.len());
        left = &left[step.consumed..];
        restored.extend_from_slice(&out[..step.produced]);
        assert!(restored.len() <= limit, "never more than the limit");
        if step.finished {
            break;
        }
        if step.consumed == 0 && step.produced == 0 {
            assert!(left.is_empty(), "with input and room it gets on");
            break;
        }
    }
    decoder.finish()?;
    Ok(restored)
}

/// What a codec wrote into an output of `room` bytes, it reads.
fn round_trip(codec: &dyn Compressor, data: &[u8], room: usize) {
    let mut stored = vec![0; room];
    let filled = codec
        .compress(data, &mut stored, &CancelToken::new())
        .expect("compressing only fails by a cancel");
    if let Some(filled) = filled {
        let mut restored = vec![0; data.len()];
        codec
            .decompress(&stored[..filled], &mut restored)
            .expect("our own is taken");
        assert_eq!(restored, data);
        let slices = in_slices(codec, &stored[..filled], data.len(), 1000, 1000);
        assert_eq!(slices.expect("our own is taken"), data);
    }
}
