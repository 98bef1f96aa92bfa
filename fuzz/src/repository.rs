//! A small damaged repository: whatever is done to its objects, no wrong byte is restored without an error.

use std::sync::{Arc, OnceLock};

use backup_core::compress::compressor;
use backup_core::diff::JoinRules;
use backup_core::testing::{MemoryDevice, MemoryRepository};
use backup_core::{
    Algorithm, Attachment, Backup, BackupId, BackupRequest, BlockDevice, Buf, ByteRange, Chain,
    Check, ChunkedBackup, ChunkedConfig, ErrorKind, JobContext, Layer, RestoreOptions, Timestamp,
    VolumeId,
};
use futures::StreamExt;
use tokio::runtime::Runtime;

use super::bytes::Bytes;

/// Not a multiple of the block size.
const LENGTH: usize = 70_003;
const BLOCK: u64 = 4096;

/// The sound repository, which every input starts from.
struct Sound {
    runtime: Runtime,
    cx: JobContext,
    objects: Vec<(String, String, Vec<u8>)>, // container, name, content
    chain: Chain,
    content: Vec<u8>,
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let cx = JobContext::new(64 << 20).expect("a context");
        let memory = MemoryRepository::new();
        let (chain, content) = runtime.block_on(back_up(&memory, &cx));
        let objects = memory
            .objects()
            .into_iter()
            .map(|(path, _)| {
                let content = memory
                    .object(&path)
                    .expect("an object that is there")
                    .to_vec();
                let (container, name) = path.rsplit_once('/').expect("container/name");
                (container.to_owned(), name.to_owned(), content)
            })
            .collect();
        Sound {
            runtime,
            cx,
            objects,
            chain,
            content,
        }
    })
}

fn engine(memory: &MemoryRepository, algorithm: Algorithm) -> ChunkedBackup {
    let config = ChunkedConfig::new(compressor(algorithm, None).expect("the codec is built in"))
        .with_block_size(BLOCK)
        .with_chunk_size(4 * BLOCK)
        .with_join(JoinRules {
            join_gap: 0,
            zero_run: 2 * BLOCK,
        });
    ChunkedBackup::new(Arc::new(memory.clone()), config).expect("a fitting configuration")
}

/// A full backup with zlib and an incremental with zstd, the same ones each time.
async fn back_up(memory: &MemoryRepository, cx: &JobContext) -> (Chain, Vec<u8>) {
    let mut content: Vec<u8> = (0..LENGTH)
        .map(|i| (i / 97 * 31 + i % 7).to_le_bytes()[0])
        .collect();
    content[20_000..45_000].fill(0);
    // Bytes that do not compress, so that an object is stored as it is.
    let mut state = 1u64;
    for byte in &mut content[50_000..66_000] {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *byte = state.to_le_bytes()[7];
    }
    let volume = MemoryDevice::from_bytes(&content);
    let mut layers: Vec<Layer> = Vec::new();
    for (number, algorithm) in [(1, Algorithm::Zlib), (2, Algorithm::Zstd)] {
        let at = Timestamp::from_micros(1_800_000_000_000_000).expect("a time");
        let mut request = BackupRequest::new(VolumeId::from_bytes([7; 16]), at);
        request.id = BackupId::from_bytes([number; 16]);
        request.name = Some(format!("layer {number}"));
        let engine = engine(memory, algorithm);
        let plan = engine.plan(&request).expect("a plan");
        engine
            .create(
                &plan,
                layers.last(),
                &Attachment::new(Arc::new(volume.clone())),
                cx,
            )
            .await
            .expect("a backup");
        layers.push(Layer {
            id: plan.id,
            location: plan.location,
        });
        if number == 1 {
            content[5000..5200].copy_from_slice(&[b'#'; 200]);
            content[57_344..65_536].fill(0);
            content[70_000..].copy_from_slice(b"end");
            volume.poke(0, &content);
        }
    }
    (Chain::new(layers).expect("two layers"), content)
}

/// What an input did.
#[derive(Default)]
struct Damage {
    metadata: bool,
    hash_list: bool,
}

/// Damages a copy of the repository as the input says: edits of one object each.
fn damaged(sound: &Sound, input: &mut Bytes<'_>) -> (MemoryRepository, Damage) {
    let memory = MemoryRepository::new();
    let mut objects: Vec<_> = sound
        .objects
        .iter()
        .map(|(_, _, content)| Some(content.clone()))
        .collect();
    let mut damage = Damage::default();
    for _ in 0..16 {
        if input.is_empty() {
            break;
        }
        let kind = input.byte();
        let which = usize::from(input.byte()) % objects.len();
        let at = usize::from(input.short());
        let name = &sound.objects[which].1;
        damage.metadata |= name.ends_with("_metadata");
        damage.hash_list |= name.ends_with("_sha256file");
        let with = input.byte();
        if kind % 6 == 5 {
            objects[which] = None;
            continue;
        }
        let Some(object) = &mut objects[which] else {
            continue;
        };
        let at = at % (object.len() + 1);
        match kind % 6 {
            0 => {
                if let Some(byte) = object.get_mut(at) {
                    *byte ^= with.max(1);
                }
            }
            1 => object.truncate(at),
            2 => {
                let added = input.take(usize::from(with)).to_vec();
                object.splice(at..at, added);
            }
            3 => {
                let end = (at + usize::from(with)).min(object.len());
                object.drain(at..end);
            }
            _ => {
                for (byte, new) in object[at..].iter_mut().zip(input.take(usize::from(with))) {
                    *byte = *new;
                }
            }
        }
    }
    for ((container, name, _), content) in sound.objects.iter().zip(objects) {
        if let Some(content) = content {
            memory
                .plant(container, name, content)
                .expect("a name that was there");
        }
    }
    (memory, damage)
}

/// Edits the objects of a full backup and an incremental on it, then does with them all that reads.
pub fn repository(data: &[u8]) {
    let sound = sound();
    let (memory, damage) = damaged(sound, &mut Bytes(data));
    sound.runtime.block_on(read_all(sound, &memory, &damage));
}

async fn read_all(sound: &Sound, memory: &MemoryRepository, damage: &Damage) {
    let engine = engine(memory, Algorithm::Zlib);
    let cx = &sound.cx;
    // A metadata object and a hash list that were forged to fit each other describe another volume, and rightly
    // restore to that.
    let judged = !(damage.metadata && damage.hash_list);

    let scan = engine.scan(None, cx).await.expect("listing works");
    scan.for_each(|item| async move {
        item.expect("a broken backup does not end a scan");
    })
    .await;

    let mut restored = false;
    for check in [Check::Hashes, Check::Md5] {
        let target = dirty();
        let options = RestoreOptions::default().with_check(check);
        match restore(&engine, sound, &target, &options).await {
            Ok(report) => {
                restored = true;
                if judged {
                    assert_eq!(report.volume_length, LENGTH as u64);
                    assert_eq!(difference(sound, &target, &[]), None, "{check:?}");
                }
            }
            Err(e) => expected(&e),
        }
    }

    let target = dirty();
    let salvage = RestoreOptions::default().with_salvage(true);
    match restore(&engine, sound, &target, &salvage).await {
        Ok(report) if judged && report.more_problems == 0 => {
            let told: Option<Vec<ByteRange>> = report
                .problems
                .iter()
                .filter(|p| p.affects_data)
                .map(|p| p.range)
                .collect();
            if let Some(told) = told {
                let silent = difference(sound, &target, &told);
                assert_eq!(silent, None, "a salvage lists what is wrong");
            }
        }
        Ok(_) => {}
        Err(e) => expected(&e),
    }

    match engine.verify(&sound.chain, cx).await {
        Ok(report) if judged && report.data_is_right() => {
            assert!(restored, "what verify finds right is restored");
        }
        Ok(_) => {}
        Err(e) => expected(&e),
    }

    match engine.open(&sound.chain, cx).await {
        Ok(reader) => {
            let length = reader.length().min(4 * LENGTH as u64);
            let range = ByteRange::up_to(length);
            match reader.extents(range).await {
                Ok(extents) => {
                    let mut at = 0;
                    for extent in extents {
                        assert_eq!(extent.range.start(), at, "extents have no gaps");
                        at = extent.range.end();
                    }
                    assert_eq!(at, length, "extents cover the range");
                }
                Err(e) => expected(&e),
            }
            // From the end to the start, over blocks' borders.
            for piece in range.pieces(10_000).collect::<Vec<_>>().into_iter().rev() {
                let buf = Buf::zeroed(usize::try_from(piece.len()).expect("10 000 at most"));
                let (buf, result) = reader.read(piece.start(), buf).await;
                match result {
                    Ok(()) if judged => {
                        let start = usize::try_from(piece.start()).expect("within the volume");
                        assert!(
                            sound.content[start..].starts_with(&buf),
                            "a wrong byte was read from {piece}"
                        );
                    }
                    Ok(()) => {}
                    Err(e) => expected(&e),
                }
            }
        }
        Err(e) => expected(&e),
    }
}

/// Full of other bytes, and longer than the volume.
fn dirty() -> MemoryDevice {
    MemoryDevice::from_bytes(&vec![0xa5; 2 * LENGTH])
}

async fn restore(
    engine: &ChunkedBackup,
    sound: &Sound,
    target: &MemoryDevice,
    options: &RestoreOptions,
) -> backup_core::Result<backup_core::Report> {
    let target: Arc<dyn BlockDevice> = Arc::new(target.clone());
    engine
        .restore(&sound.chain, &target, options, &sound.cx)
        .await
}

/// First byte that is wrong and not within `told`.
fn difference(sound: &Sound, target: &MemoryDevice, told: &[ByteRange]) -> Option<u64> {
    let held = target.peek(0, sound.content.len());
    (0..LENGTH as u64)
        .zip(held.iter().zip(&sound.content))
        .filter(|(_, (held, right))| held != right)
        .map(|(at, _)| at)
        .find(|at| !told.iter().any(|r| (r.start()..r.end()).contains(at)))
}

/// Damage of a repository shows as damage, not as a fault of ours or a call without sense (but for a length that
/// the target does not have).
fn expected(e: &backup_core::Error) {
    assert!(
        matches!(
            e.kind(),
            ErrorKind::Corrupt
                | ErrorKind::NotFound
                | ErrorKind::Unsupported
                | ErrorKind::InvalidInput
                | ErrorKind::NoSpace
        ),
        "{e:?}"
    );
}
