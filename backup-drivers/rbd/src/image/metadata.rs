//! Small texts that an image carries.

use std::collections::BTreeMap;

use backup_core::error::{Error, Result};
use librbd_sys as sys;

use super::Image;
use crate::cluster::c_text;
use crate::error::{check, errno};

/// Longest value that is read, in bytes.
const MAX_VALUE: usize = 1 << 20;

/// Entries that are asked for at once.
const PAGE: u64 = 64;

impl Image {
    /// The value of `key`; `None` where there is none.
    pub async fn metadata(&self, key: &str) -> Result<Option<String>> {
        const OPERATION: &str = "read image metadata";
        let key = c_text(OPERATION, key)?;
        self.call(OPERATION, move |handle| {
            let mut value = vec![0_u8; 4096];
            loop {
                let mut length = value.len();
                // SAFETY: the handle is live, the text ends with a zero byte, there is room for `length` bytes.
                let told = unsafe {
                    sys::rbd_metadata_get(
                        handle.raw,
                        key.as_ptr(),
                        value.as_mut_ptr().cast(),
                        &raw mut length,
                    )
                };
                match -told {
                    errno::ENOENT => return Ok(None),
                    errno::ERANGE if length <= MAX_VALUE => {
                        value.resize(length.max(value.len() * 2), 0);
                    }
                    _ => {
                        check(OPERATION, handle.target(), told)?;
                        let end = value.iter().position(|&b| b == 0);
                        value.truncate(end.unwrap_or(value.len()).min(length));
                        return String::from_utf8(value)
                            .map(Some)
                            .map_err(|_| not_text(OPERATION, &handle.target()));
                    }
                }
            }
        })
        .await
    }

    /// Sets `key` to `value`.
    pub async fn set_metadata(&self, key: &str, value: &str) -> Result<()> {
        const OPERATION: &str = "set image metadata";
        let (key, value) = (c_text(OPERATION, key)?, c_text(OPERATION, value)?);
        self.call(OPERATION, move |handle| {
            // SAFETY: the handle is live, both texts end with a zero byte.
            let set = unsafe { sys::rbd_metadata_set(handle.raw, key.as_ptr(), value.as_ptr()) };
            check(OPERATION, handle.target(), set).map(drop)
        })
        .await
    }

    /// Removes `key`; one that is missing is success.
    pub async fn remove_metadata(&self, key: &str) -> Result<()> {
        const OPERATION: &str = "remove image metadata";
        let key = c_text(OPERATION, key)?;
        self.call(OPERATION, move |handle| {
            // SAFETY: the handle is live, the text ends with a zero byte.
            let removed = unsafe { sys::rbd_metadata_remove(handle.raw, key.as_ptr()) };
            if removed == -errno::ENOENT {
                return Ok(());
            }
            check(OPERATION, handle.target(), removed).map(drop)
        })
        .await
    }

    /// All keys with their values.
    pub async fn all_metadata(&self) -> Result<BTreeMap<String, String>> {
        const OPERATION: &str = "list image metadata";
        self.call(OPERATION, |handle| {
            let mut all = BTreeMap::new();
            let mut after = c_text(OPERATION, "")?;
            let (mut keys, mut values) = (vec![0_u8; 4096], vec![0_u8; 16_384]);
            loop {
                let (mut keys_length, mut values_length) = (keys.len(), values.len());
                // SAFETY: the handle is live, the text ends with a zero byte, both buffers are as long as is said.
                let told = unsafe {
                    sys::rbd_metadata_list(
                        handle.raw,
                        after.as_ptr(),
                        PAGE,
                        keys.as_mut_ptr().cast(),
                        &raw mut keys_length,
                        values.as_mut_ptr().cast(),
                        &raw mut values_length,
                    )
                };
                if told == -errno::ERANGE && keys_length.max(values_length) <= MAX_VALUE * 64 {
                    keys.resize(keys_length.max(keys.len()), 0);
                    values.resize(values_length.max(values.len()), 0);
                    continue;
                }
                check(OPERATION, handle.target(), told)?;
                let names = texts(&keys[..keys_length.min(keys.len())]);
                let contents = texts(&values[..values_length.min(values.len())]);
                let Some(last) = names.last() else {
                    return Ok(all);
                };
                after = c_text(OPERATION, last)?;
                let more = names.len() as u64 >= PAGE;
                all.extend(names.into_iter().zip(contents));
                if !more {
                    return Ok(all);
                }
            }
        })
        .await
    }
}

/// Texts that each end with a zero byte.
fn texts(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes
        .split(|&b| b == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

fn not_text(operation: &'static str, target: &str) -> Error {
    Error::corrupt(operation, target, "the value is not UTF-8")
}
