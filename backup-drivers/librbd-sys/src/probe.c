/* Compiled and linked by build.rs, never run: fails where librbd or librados is missing or too old. */
#include <rados/librados.h>
#include <rbd/librbd.h>

#if !defined(LIBRBD_SUPPORTS_WRITE_ZEROES) || !LIBRBD_SUPPORTS_WRITE_ZEROES
#error "librbd is older than 16 (Pacific): it has no rbd_aio_write_zeroes"
#endif

int main(void) {
  rados_t cluster = 0;
  rbd_image_t image = 0;
  return rados_create(&cluster, 0) + rbd_aio_write_zeroes(image, 0, 0, 0, 0, 0);
}
