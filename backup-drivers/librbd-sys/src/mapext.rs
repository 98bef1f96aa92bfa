//! Which parts of an object hold data. librados tells it in its C++ interface only, so this is the one call that is not of
//! the C headers: `src/mapext.cc`, compiled where `librados.hpp` (libradospp-dev) is there.

use core::ffi::{c_char, c_int};

use crate::rados_ioctx_t;

/// Whether this build can ask; else [`ashlar_mapext`] answers -95 (`EOPNOTSUPP`).
pub const HAS_MAPEXT: bool = cfg!(has_mapext);

#[cfg(has_mapext)]
unsafe extern "C" {
    /// Asks which of the first `length` bytes of `object` hold data, at the snapshot that `context` is set to.
    ///
    /// `extents` has room for `*count` pairs of offset and length; `*count` becomes how many there are. Answers 0, or a
    /// negative errno: `-ERANGE` where the room is too small, `-ENOENT` where there is no such object, `-EOPNOTSUPP` where
    /// its pool cannot tell (erasure-coded ones).
    ///
    /// # Safety
    /// `context` is live, `object` ends with a zero byte, `count` may be written, and `extents` is as long as is said.
    pub fn ashlar_mapext(
        context: rados_ioctx_t,
        object: *const c_char,
        length: u64,
        extents: *mut u64,
        count: *mut usize,
    ) -> c_int;
}

/// As above, in a build that cannot ask.
///
/// # Safety
/// Nothing is touched.
#[cfg(not(has_mapext))]
pub unsafe fn ashlar_mapext(
    _context: rados_ioctx_t,
    _object: *const c_char,
    _length: u64,
    _extents: *mut u64,
    _count: *mut usize,
) -> c_int {
    -95
}
