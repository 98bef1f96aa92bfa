//! New images, empty or as clones.

use std::ptr;

use backup_core::error::{Error, Result};
use librbd_sys as sys;

use super::Pool;
use crate::cluster::c_text;
use crate::error::check;

/// Shape of a new image. What is not set is the cluster's default (`rbd_default_...`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Bits of [`Features`](crate::Features).
    pub features: Option<u64>,
    /// Bytes of an object, a power of two from 4096 to 32 MiB.
    pub object_size: Option<u64>,
    /// Bytes of a stripe's part in one object; a divisor of the object size. Goes with `stripe_count`.
    pub stripe_unit: Option<u64>,
    /// Objects that are striped over.
    pub stripe_count: Option<u64>,
    /// The pool for the data, where it is another one than for the rest (erasure-coded pools).
    pub data_pool: Option<String>,
}

/// Shape of a clone; what is not set is as its parent's.
pub type CloneOptions = CreateOptions;

/// librbd's options; freed when dropped.
struct Options(sys::rbd_image_options_t);

impl Options {
    fn new() -> Self {
        let mut raw: sys::rbd_image_options_t = ptr::null_mut();
        // SAFETY: `raw` is a place for the handle.
        unsafe { sys::rbd_image_options_create(&raw mut raw) };
        Self(raw)
    }

    fn number(&self, operation: &'static str, option: u32, value: u64) -> Result<()> {
        let option = i32::try_from(option)
            .map_err(|_| Error::internal(operation, "an option's number is too large"))?;
        // SAFETY: the handle is live.
        let set = unsafe { sys::rbd_image_options_set_uint64(self.0, option, value) };
        check(operation, "its options", set).map(drop)
    }

    fn text(&self, operation: &'static str, option: u32, value: &str) -> Result<()> {
        let option = i32::try_from(option)
            .map_err(|_| Error::internal(operation, "an option's number is too large"))?;
        let value = c_text(operation, value)?;
        // SAFETY: the handle is live, the text ends with a zero byte and is copied.
        let set = unsafe { sys::rbd_image_options_set_string(self.0, option, value.as_ptr()) };
        check(operation, "its options", set).map(drop)
    }

    fn fill(&self, operation: &'static str, options: &CreateOptions) -> Result<()> {
        if let Some(features) = options.features {
            self.number(operation, sys::RBD_IMAGE_OPTION_FEATURES, features)?;
        }
        if let Some(size) = options.object_size {
            if !size.is_power_of_two() {
                return Err(Error::invalid(
                    operation,
                    format!("an object size of {size} bytes is no power of two"),
                ));
            }
            let order = u64::from(size.trailing_zeros());
            self.number(operation, sys::RBD_IMAGE_OPTION_ORDER, order)?;
        }
        if let Some(unit) = options.stripe_unit {
            self.number(operation, sys::RBD_IMAGE_OPTION_STRIPE_UNIT, unit)?;
        }
        if let Some(count) = options.stripe_count {
            self.number(operation, sys::RBD_IMAGE_OPTION_STRIPE_COUNT, count)?;
        }
        if let Some(pool) = &options.data_pool {
            self.text(operation, sys::RBD_IMAGE_OPTION_DATA_POOL, pool)?;
        }
        Ok(())
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the handle is live and dropped once.
        unsafe { sys::rbd_image_options_destroy(self.0) };
    }
}

impl Pool {
    /// Makes the image `name` of `size` bytes that read as zeroes.
    ///
    /// # Errors
    /// [`AlreadyExists`](backup_core::ErrorKind::AlreadyExists);
    /// [`InvalidInput`](backup_core::ErrorKind::InvalidInput) for options that do not fit each other.
    pub async fn create(&self, name: &str, size: u64, options: &CreateOptions) -> Result<()> {
        const OPERATION: &str = "create image";
        let target = self.target(name);
        let (name, options) = (c_text(OPERATION, name)?, options.clone());
        let told = target.clone();
        self.call(OPERATION, target, move |context| {
            let raw = Options::new();
            raw.fill(OPERATION, &options)?;
            // SAFETY: the context and the options are live, the text ends with a zero byte.
            let made = unsafe { sys::rbd_create4(context.raw(), name.as_ptr(), size, raw.0) };
            check(OPERATION, &told, made).map(drop)
        })
        .await
    }

    /// Makes the image `name` in this pool as a clone of `snapshot` of `image` in `parent`, by clone format 2: the
    /// snapshot need not be protected, and may be removed while the clone is there.
    pub async fn clone_image(
        &self,
        parent: &Pool,
        image: &str,
        snapshot: &str,
        name: &str,
        options: &CloneOptions,
    ) -> Result<()> {
        const OPERATION: &str = "clone image";
        let target = format!("{}@{snapshot}", parent.target(image));
        let told = format!("{target} to {}", self.target(name));
        let (image, snapshot) = (c_text(OPERATION, image)?, c_text(OPERATION, snapshot)?);
        let (name, options) = (c_text(OPERATION, name)?, options.clone());
        let parent = parent.clone();
        self.call(OPERATION, target, move |context| {
            let raw = Options::new();
            raw.fill(OPERATION, &options)?;
            raw.number(OPERATION, sys::RBD_IMAGE_OPTION_CLONE_FORMAT, 2)?;
            // SAFETY: both contexts and the options are live, the texts end with a zero byte.
            let made = unsafe {
                sys::rbd_clone3(
                    parent.shared.raw(),
                    image.as_ptr(),
                    snapshot.as_ptr(),
                    context.raw(),
                    name.as_ptr(),
                    raw.0,
                )
            };
            check(OPERATION, &told, made).map(drop)
        })
        .await
    }
}
