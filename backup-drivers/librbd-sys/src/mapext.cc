// Which parts of an object hold data: librados has this call in C++ only. See mapext.rs.
#include <rados/librados.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <map>
#include <new>

extern "C" int ashlar_mapext(rados_ioctx_t context, const char *object, uint64_t length, uint64_t *extents,
                             size_t *count) {
  // No exception may leave: the caller is not C++.
  try {
    librados::IoCtx io;
    // Takes a reference of its own, which its end gives back.
    librados::IoCtx::from_rados_ioctx_t(context, io);
    std::map<uint64_t, uint64_t> data;
    const int told = io.mapext(object, 0, length, data);
    if (told < 0) {
      return told;
    }
    const size_t room = *count;
    *count = data.size();
    if (data.size() > room) {
      return -ERANGE;
    }
    size_t at = 0;
    for (const auto &extent : data) {
      extents[at++] = extent.first;
      extents[at++] = extent.second;
    }
    return 0;
  } catch (const std::bad_alloc &) {
    return -ENOMEM;
  } catch (...) {
    return -EIO;
  }
}
