//! What our codecs write, read by libraries that did not write it: the bytes that went in, as one stream, whole.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use backup_core::CancelToken;
use backup_core::compress::{Algorithm, Compressor, compressor};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::bytes::Bytes;
use super::codecs::in_slices;
use super::script;

/// Bytes of content, where calls of a codec are not cut for the cancel's sake.
const SHORT: usize = 200_000;
/// Longer than zlib's longest call at its slow levels (1 MiB), and than some of zstd's (256 KiB).
const LONG: usize = 1_200_000;

/// A codec at a level. They are kept: a slow level of zstd costs more to set up than to run on little.
fn codec(algorithm: Algorithm, level: i32) -> Arc<dyn Compressor> {
    type Kept = Vec<(Algorithm, i32, Arc<dyn Compressor>)>;
    static KEPT: Mutex<Kept> = Mutex::new(Vec::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, _, codec)) = kept.iter().find(|(a, l, _)| (*a, *l) == (algorithm, level)) {
        return Arc::clone(codec);
    }
    let codec = compressor(algorithm, Some(level)).expect("a level that it has");
    kept.push((algorithm, level, Arc::clone(&codec)));
    codec
}

/// Compresses a script's content at a level that the first byte picks from `levels` and into an output whose length the
/// second picks. Gives the content and, where it fits, what is stored of it.
fn compressed(
    input: &mut Bytes<'_>,
    algorithm: Algorithm,
    levels: &[i32],
) -> (Vec<u8>, Option<Vec<u8>>) {
    let first = usize::from(input.byte());
    let codec = codec(algorithm, levels[first % levels.len()]);
    let room = input.byte();
    let limit = if room >= 248 { LONG } else { SHORT };
    let content = script::content(input, limit).bytes;
    let room = match room % 4 {
        // As the engine calls it.
        0 | 1 => content.len().saturating_sub(1),
        2 => content.len() * 2 + 1000,
        _ => content.len() * usize::from(room) / 256,
    };
    let mut stored = vec![0xA5; room];
    let filled = codec
        .compress(&content, &mut stored, &CancelToken::new())
        .expect("compressing only fails by a cancel");
    let stored = filled.map(|filled| {
        stored.truncate(filled);
        stored
    });
    // From 4 KiB on, samples tell whether it is tried at all, and may miss what would shrink.
    if stored.is_none() && room + 1 >= content.len() && content.len() < 4096 {
        let other = miniz_oxide::deflate::compress_to_vec(&content, 1).len();
        // The other has no header, no checksum and no block of its own here.
        assert!(
            other * 2 + 128 >= content.len(),
            "another library makes {other} of {} bytes",
            content.len()
        );
    }
    if let Some(stored) = &stored {
        let mut restored = vec![0; content.len()];
        codec
            .decompress(stored, &mut restored)
            .expect("our own is taken");
        assert!(restored == content, "our own reader gives what went in");
        let slices = in_slices(&*codec, stored, content.len(), 4099, 4093);
        assert!(slices.expect("our own is taken") == content);
    }
    (content, stored)
}

/// zlib at any level. An odd third byte cuts the content where the script's pieces end, whatever they hold, and joins
/// their streams, each one's own deflate stream or stored as it is.
pub fn zlib_join(data: &[u8]) {
    let mut input = Bytes(data);
    let cut = input.byte();
    if cut.is_multiple_of(2) {
        let levels: Vec<i32> = (1..=9).collect();
        if let (content, Some(stored)) = compressed(&mut input, Algorithm::Zlib, &levels) {
            read_zlib(&content, &stored);
        }
        return;
    }
    let level = i32::from(input.byte() % 9) + 1;
    let kinds = input.short();
    let content = script::content(&mut input, SHORT);
    let segments: Vec<(usize, bool)> = content
        .pieces
        .iter()
        .filter(|&&length| length > 0)
        .enumerate()
        .map(|(at, &length)| (length, kinds >> (at % 16) & 1 == 1))
        .collect();
    if segments.is_empty() {
        return;
    }
    let stored = backup_core::testing::zlib_of_segments(level, &content.bytes, &segments)
        .expect("libdeflate's output is understood");
    read_zlib(&content.bytes, &stored);
}

/// RFC 1950, told by hand and by miniz_oxide.
fn read_zlib(content: &[u8], stored: &[u8]) {
    let head = u16::from_be_bytes([stored[0], stored[1]]);
    assert_eq!(head % 31, 0, "the header's check bits");
    assert_eq!(head & 0x0F20, 0x0800, "deflate, no dictionary");
    assert!(head >> 12 <= 7, "a window of at most 32 KiB");
    assert_eq!(
        stored[stored.len() - 4..],
        adler32(content).to_be_bytes(),
        "Adler-32 at the end"
    );
    let (read, taken) = inflate(stored, content.len()).expect("another library takes it");
    assert_eq!(taken, stored.len(), "one stream, to the last byte");
    assert!(read == content, "another library gives what went in");
}

/// What miniz_oxide makes of a zlib stream of at most `limit` bytes of content, and how much of the input it took.
/// `None` where it refuses it.
pub fn inflate(stored: &[u8], limit: usize) -> Option<(Vec<u8>, usize)> {
    let flags = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
        | inflate_flags::TINFL_FLAG_COMPUTE_ADLER32
        | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    // One byte more, so that a stream that goes on is told.
    let mut read = vec![0; limit + 1];
    let mut state = DecompressorOxide::new();
    let (status, taken, made) = decompress(&mut state, stored, &mut read, 0, flags);
    read.truncate(made);
    // Built with `--cfg fuzzing`, as cargo-fuzz does, it does not compare the checksums itself.
    let checked = state.adler32().is_some() && state.adler32() == state.adler32_header();
    (status == TINFLStatus::Done && checked && made <= limit).then_some((read, taken))
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for chunk in bytes.chunks(5000) {
        for byte in chunk {
            a += u32::from(*byte);
            b += a;
        }
        a %= 65_521;
        b %= 65_521;
    }
    b << 16 | a
}

/// zstd: one frame that tells its content's size, read by ruzstd.
pub fn zstd_frame(data: &[u8]) {
    let levels = [2, 1, 3, 5, -7, -1, 9, 10, 13, 19];
    let (content, stored) = compressed(&mut Bytes(data), Algorithm::Zstd, &levels);
    let Some(stored) = stored else {
        return;
    };
    let mut rest = &stored[..];
    let mut decoder = ruzstd::decoding::FrameDecoder::new();
    decoder.init(&mut rest).expect("a frame's header");
    // A size of 0 is how ruzstd tells that there is none; Cinder allocates by it.
    assert_eq!(decoder.content_size(), content.len() as u64);
    if content.is_empty() {
        assert_eq!(stored[4] & 0b1110_0000, 0b0010_0000, "a size, of one byte");
    }
    decoder
        .decode_blocks(&mut rest, ruzstd::decoding::BlockDecodingStrategy::All)
        .expect("another library takes it");
    let read = decoder.collect().unwrap_or_default();
    assert!(
        decoder.is_finished() && rest.is_empty(),
        "one frame, to the last byte"
    );
    assert!(read == content, "another library gives what went in");
}

/// bzip2: one stream, read by bzip2-rs. All levels but 9, of which the level tells nothing but the length of a block.
pub fn bzip2_stream(data: &[u8]) {
    let levels: Vec<i32> = (1..=8).collect();
    let (content, stored) = compressed(&mut Bytes(data), Algorithm::Bzip2, &levels);
    let Some(mut stored) = stored else {
        return;
    };
    assert_eq!(&stored[..3], b"BZh");
    // bzip2-rs makes room for compressed blocks no longer than plain ones, and noise grows: let it take them for longer.
    stored[3] = b'9';
    let mut read = Vec::new();
    bzip2_rs::DecoderReader::new(&stored[..])
        .take(content.len() as u64 + 1)
        .read_to_end(&mut read)
        .expect("another library takes it");
    assert!(read == content, "another library gives what went in");
}
