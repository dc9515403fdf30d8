// Memory in pages.
#include "src/os/memory.h"

#include <sys/mman.h>

#include "src/os/linux/call.h"

namespace weir::inline v0::os {

void* map_memory(std::size_t size_bytes) {
  void* memory = nullptr;
  const std::int64_t result = call_once(Call::map, -1, 0, [&](std::size_t) {
    memory =
        ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? -1 : 0;
  });
  return result < 0 ? nullptr : memory;
}

void unmap_memory(void* memory, std::size_t size_bytes) {
  call_plain([&] { return ::munmap(memory, size_bytes); });
}

}  // namespace weir::inline v0::os
