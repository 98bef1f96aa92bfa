//! Size, shape and features of an image.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::time::SystemTime;

use backup_core::error::Result;
use librbd_sys as sys;

use super::{Handle, Image};
use crate::error::{check, errno};

/// Features of an image, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// It can be cloned from, and be a clone.
    pub const LAYERING: u64 = sys::RBD_FEATURE_LAYERING as u64;
    /// Its stripes are shorter than its objects.
    pub const STRIPING: u64 = sys::RBD_FEATURE_STRIPINGV2 as u64;
    /// One client writes at a time.
    pub const EXCLUSIVE_LOCK: u64 = sys::RBD_FEATURE_EXCLUSIVE_LOCK as u64;
    /// A map tells which objects exist.
    pub const OBJECT_MAP: u64 = sys::RBD_FEATURE_OBJECT_MAP as u64;
    /// The object map tells which objects changed since the last snapshot too.
    pub const FAST_DIFF: u64 = sys::RBD_FEATURE_FAST_DIFF as u64;
    /// Flattening it frees its snapshots from the parent as well.
    pub const DEEP_FLATTEN: u64 = sys::RBD_FEATURE_DEEP_FLATTEN as u64;
    /// Writes go through a journal.
    pub const JOURNALING: u64 = sys::RBD_FEATURE_JOURNALING as u64;

    /// Whether it has all of `bits`.
    pub fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }
}

/// What an image was like when it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageInfo {
    /// Length in bytes.
    pub size: u64,
    /// Bytes of an object.
    pub object_size: u64,
    /// The image's ID, which no other image of the pool gets, also not one of the same name.
    pub id: String,
    /// Features.
    pub features: Features,
    /// Bytes of a stripe's part in one object.
    pub stripe_unit: u64,
    /// Objects that are striped over.
    pub stripe_count: u64,
    /// Bytes from its start that it may still take from a parent; 0 where it is no clone.
    pub overlap: u64,
    /// The number of the snapshot that the handle shows.
    pub snapshot_id: Option<u64>,
    /// The number of the pool that its data lies in.
    pub data_pool: i64,
    /// What the names of its data's objects begin with.
    pub object_prefix: String,
}

impl ImageInfo {
    /// Bytes of a stripe's period: offsets are in order from one to the next.
    pub fn period(&self) -> u64 {
        self.object_size
            .saturating_mul(self.stripe_count.max(1))
            .max(1)
    }

    /// Whether it is a clone that still takes something from its parent.
    pub fn is_clone(&self) -> bool {
        self.overlap > 0
    }
}

/// What an image is a clone of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// Name of the pool.
    pub pool: String,
    /// Namespace in the pool; empty for none.
    pub namespace: String,
    /// Name of the image.
    pub image: String,
    /// Name of the snapshot.
    pub snapshot: String,
}

/// Asks for all of [`ImageInfo`]. Blocks.
pub(super) fn read(handle: &Handle) -> Result<ImageInfo> {
    const OPERATION: &str = "ask for the image's shape";
    let target = handle.target();
    let mut stat = MaybeUninit::<sys::rbd_image_info_t>::zeroed();
    // SAFETY: the handle is live, `stat` is a place of the size that is given.
    let told = unsafe {
        sys::rbd_stat(
            handle.raw,
            stat.as_mut_ptr(),
            size_of::<sys::rbd_image_info_t>(),
        )
    };
    check(OPERATION, &target, told)?;
    // SAFETY: numbers and arrays of characters only: all zeroes are valid, and the call has filled it.
    let stat = unsafe { stat.assume_init() };
    let mut info = ImageInfo {
        size: stat.size,
        object_size: stat.obj_size,
        ..ImageInfo::default()
    };
    let number = |call: unsafe extern "C" fn(sys::rbd_image_t, *mut u64) -> i32| {
        let mut value = 0_u64;
        // SAFETY: the handle is live, `value` is a place for the answer; all functions passed have this meaning.
        let told = unsafe { call(handle.raw, &raw mut value) };
        check(OPERATION, &target, told).map(|_| value)
    };
    info.features = Features(number(sys::rbd_get_features)?);
    info.stripe_unit = number(sys::rbd_get_stripe_unit)?;
    info.stripe_count = number(sys::rbd_get_stripe_count)?;
    info.overlap = number(sys::rbd_get_overlap)?;
    let text =
        |call: unsafe extern "C" fn(sys::rbd_image_t, *mut c_char, usize) -> i32| -> Result<String> {
            let mut text: [c_char; 128] = [0; 128];
            // SAFETY: the handle is live, the buffer is as long as is said; all functions passed have this meaning.
            let told = unsafe { call(handle.raw, text.as_mut_ptr(), text.len()) };
            check(OPERATION, &target, told)?;
            text[text.len() - 1] = 0;
            // SAFETY: the last character is a zero, so the text ends within the buffer.
            let text = unsafe { CStr::from_ptr(text.as_ptr()) };
            Ok(text.to_string_lossy().into_owned())
        };
    info.id = text(sys::rbd_get_id)?;
    info.object_prefix = text(sys::rbd_get_block_name_prefix)?;
    // SAFETY: the handle is live.
    info.data_pool = unsafe { sys::rbd_get_data_pool_id(handle.raw) };
    if let Some(snapshot) = &handle.snapshot {
        info.snapshot_id = Some(super::snapshots::id_of(handle, snapshot)?);
    }
    Ok(info)
}

impl Image {
    /// Whether its object maps can tell differences without looking at objects: it has fast-diff, and the map that
    /// this handle shows is not marked invalid. Maps of other snapshots may be: librbd then looks at the objects.
    pub async fn has_fast_diff(&self) -> Result<bool> {
        const OPERATION: &str = "ask for the image's flags";
        if !self.info().features.has(Features::FAST_DIFF) {
            return Ok(false);
        }
        self.call(OPERATION, |handle| {
            let mut flags = 0_u64;
            // SAFETY: the handle is live, `flags` is a place for the answer.
            let told = unsafe { sys::rbd_get_flags(handle.raw, &raw mut flags) };
            check(OPERATION, handle.target(), told)?;
            let invalid =
                u64::from(sys::RBD_FLAG_FAST_DIFF_INVALID | sys::RBD_FLAG_OBJECT_MAP_INVALID);
            Ok(flags & invalid == 0)
        })
        .await
    }

    /// When it was last written, or made. Ceph notes a write at most once a minute (`rbd_mtime_update_interval`).
    pub async fn modified(&self) -> Result<Option<SystemTime>> {
        const OPERATION: &str = "ask when the image was written";
        self.call(OPERATION, |handle| {
            let mut time = sys::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            // SAFETY: the handle is live, `time` is a place for the answer.
            let told = unsafe { sys::rbd_get_modify_timestamp(handle.raw, &raw mut time) };
            check(OPERATION, handle.target(), told)?;
            Ok(super::snapshots::time_of(time).filter(|at| *at > SystemTime::UNIX_EPOCH))
        })
        .await
    }

    /// What it is a clone of; `None` where it is none, or was flattened.
    pub async fn parent(&self) -> Result<Option<Parent>> {
        const OPERATION: &str = "ask for the image's parent";
        self.call(OPERATION, |handle| {
            let mut image = MaybeUninit::<sys::rbd_linked_image_spec_t>::zeroed();
            let mut snapshot = MaybeUninit::<sys::rbd_snap_spec_t>::zeroed();
            // SAFETY: the handle is live, both are places of their types.
            let told = unsafe {
                sys::rbd_get_parent(handle.raw, image.as_mut_ptr(), snapshot.as_mut_ptr())
            };
            if told == -errno::ENOENT {
                return Ok(None);
            }
            check(OPERATION, handle.target(), told)?;
            // SAFETY: the call succeeded, so it has filled both; pointers and numbers are valid also as zeroes.
            let (mut image, mut snapshot) =
                unsafe { (image.assume_init(), snapshot.assume_init()) };
            let parent = Parent {
                pool: text(image.pool_name),
                namespace: text(image.pool_namespace),
                image: text(image.image_name),
                snapshot: text(snapshot.name),
            };
            // SAFETY: these are what the call has filled, given back once.
            unsafe {
                sys::rbd_linked_image_spec_cleanup(&raw mut image);
                sys::rbd_snap_spec_cleanup(&raw mut snapshot);
            }
            Ok(Some(parent))
        })
        .await
    }
}

/// A text that the library filled; empty where it is null.
fn text(at: *const c_char) -> String {
    if at.is_null() {
        return String::new();
    }
    // SAFETY: not null, so it is a text of the library that ends with a zero byte.
    unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
}
