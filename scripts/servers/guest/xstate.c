/* Lets User Mode Linux run on CPUs whose extended state is longer than it knows (AMX): it sets a process's state by as
 * many bytes as it has, and the host's kernel takes all of them or none. What is missing is taken from the process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

long ptrace(enum __ptrace_request request, ...) {
  static long (*real)(enum __ptrace_request, pid_t, void *, void *);
  static _Alignas(64) char state[64 << 10];
  va_list rest;
  va_start(rest, request);
  pid_t pid = va_arg(rest, pid_t);
  void *address = va_arg(rest, void *), *data = va_arg(rest, void *);
  va_end(rest);
  if (!real) real = (long (*)(enum __ptrace_request, pid_t, void *, void *))dlsym(RTLD_NEXT, "ptrace");
  long done = real(request, pid, address, data);
  if (done >= 0 || request != PTRACE_SETREGSET || (long)address != NT_X86_XSTATE || errno != EFAULT) return done;
  struct iovec *given = data, whole = {state, sizeof state};
  done = real(PTRACE_GETREGSET, pid, address, &whole);
  if (done < 0) return done;
  memcpy(state, given->iov_base, given->iov_len < whole.iov_len ? given->iov_len : whole.iov_len);
  return real(PTRACE_SETREGSET, pid, address, &whole);
}
