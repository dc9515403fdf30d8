// Preloaded by the test of the gates: a regression in every send(2), of the kind that PLANT names.
#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

extern "C" ssize_t send(int fd, const void* data, size_t size, int flags) {
  using Send = ssize_t (*)(int, const void*, size_t, int);
  static const auto real = reinterpret_cast<Send>(dlsym(RTLD_NEXT, "send"));
  static const char* const plant = std::getenv("PLANT");
  if (plant != nullptr && std::strcmp(plant, "allocation") == 0) {
    void* volatile memory = std::malloc(48);
    std::free(memory);
  } else if (plant != nullptr && std::strcmp(plant, "system call") == 0) {
    static_cast<void>(getppid());
  } else if (plant != nullptr && std::strcmp(plant, "copy") == 0) {
    static char copy[1 << 16];
    std::memcpy(copy, data, size < sizeof copy ? size : sizeof copy);
  }
  return real(fd, data, size, flags);
}
