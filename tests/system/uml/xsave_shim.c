/* LD_PRELOAD for linux.uml on CPUs whose XSAVE area is larger than UML's fixed 2,696 bytes (AMX: 11,008).
 * There the host kernel refuses PTRACE_SETREGSET(NT_X86_XSTATE) with UML's short buffer and UML does not
 * boot. The shim gives the kernel a full-size area and UML its first part, with the AMX components off.
 * Built by tests/system/uml.py, only on such CPUs. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { GETREGSET = 0x4204, SETREGSET = 0x4205, LAST_PEEK = 3 };
enum { HEADER = 512, KNOWN_COMPONENTS = 0x2ff /* x87 to PKRU, without AMX */ };

static unsigned char area[16384] __attribute__((aligned(64)));
static size_t host_size;

static long get_state(int pid, void* note, struct iovec* uml) {
  struct iovec host = {area, sizeof area};
  long status = syscall(SYS_ptrace, GETREGSET, pid, note, &host);
  if (status < 0) return status;
  host_size = host.iov_len;
  if (uml->iov_len > host_size) uml->iov_len = host_size;
  memcpy(uml->iov_base, area, uml->iov_len);
  return status;
}

static long set_state(int pid, void* note, const struct iovec* uml) {
  size_t known = uml->iov_len;
  if (host_size == 0) host_size = known;
  if (known > host_size) known = host_size;
  memset(area, 0, host_size);
  memcpy(area, uml->iov_base, known);
  if (known < host_size) { /* XSTATE_BV: only what UML's part holds; the rest of the header is reserved */
    uint64_t components;
    memcpy(&components, area + HEADER, sizeof components);
    components &= KNOWN_COMPONENTS;
    memcpy(area + HEADER, &components, sizeof components);
    memset(area + HEADER + sizeof components, 0, 56);
  }
  struct iovec host = {area, host_size};
  return syscall(SYS_ptrace, SETREGSET, pid, note, &host);
}

long ptrace(int request, ...) {
  va_list list;
  va_start(list, request);
  int pid = va_arg(list, int);
  void* address = va_arg(list, void*);
  void* data = va_arg(list, void*);
  va_end(list);
  if ((uintptr_t)address == NT_X86_XSTATE && request == GETREGSET) return get_state(pid, address, data);
  if ((uintptr_t)address == NT_X86_XSTATE && request == SETREGSET) return set_state(pid, address, data);
  /* As glibc: the PEEK requests return the word itself. */
  long word = 0;
  int peek = request >= 1 && request <= LAST_PEEK;
  long status = syscall(SYS_ptrace, request, pid, address, peek ? &word : data);
  if (status >= 0 && peek) {
    errno = 0;
    return word;
  }
  return status;
}
