// Files: open, fstat, pread.
#include "src/os/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/os/linux/call.h"

namespace weir::inline v0::os {

std::int64_t open_file(const char* path) {
  return call_again(Call::open_file, -1, 0,
                    [&](std::size_t) { return ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); });
}

std::int64_t close_file(Native native) {
  return call_plain([&] { return ::close(static_cast<int>(native)); });
}

std::int64_t find_file_info(Native native, FileInfo& out) {
  struct stat found {};
  const std::int64_t result = call_plain([&] { return ::fstat(static_cast<int>(native), &found); });
  if (result < 0) return result;
  out.size_bytes = static_cast<std::uint64_t>(found.st_size);
  out.is_regular = S_ISREG(found.st_mode);
  out.is_directory = S_ISDIR(found.st_mode);
  return 0;
}

std::int64_t read_file(Native native, void* data, std::size_t size, std::uint64_t offset) {
  return call_again(Call::read_file, native, size, [&](std::size_t count) {
    return ::pread(static_cast<int>(native), data, count, static_cast<off_t>(offset));
  });
}

}  // namespace weir::inline v0::os
