// Reading files: system calls that block, each on a thread of an offload pool, and their errors with the path.
#include "weir/file.h"

#include <algorithm>

#include "src/loop/loop_core.h"
#include "src/os/file.h"

namespace weir::inline v0 {

namespace {

constexpr std::size_t kPieceBytes = 1 << 20;  // between two looks whether to stop
constexpr std::size_t kUnknownBytes =
    4096;  // the first piece of a file that does not say how long it is

OffloadOptions offload_options(const FileOptions& options) {
  OffloadOptions own;
  own.work = Work::file;
  own.timeout = options.timeout;
  own.pool = options.pool;
  return own;
}

// The end of a path tells more than its beginning.
Error with_path(Error error, std::string_view path, const char* expected) {
  const std::size_t shown = std::min(path.size(), sizeof(error.value) - 1);
  Error named =
      Error::of_value(error.code, error.operation, path.substr(path.size() - shown), expected);
  named.native = error.native;
  return named;
}

Error error_from_file(std::int64_t result, Operation operation, std::string_view path) {
  return with_path(Error::from_result(static_cast<std::int32_t>(result), operation), path, nullptr);
}

}  // namespace

struct File::Open {
  Open(os::Native opened, std::string opened_path) : native(opened), path(std::move(opened_path)) {}
  ~Open() { os::close_file(native); }
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;
  os::Native native;
  std::string path;
  std::uint64_t size_bytes = 0;
};

Result<File> File::open_blocking(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    return with_path(Error::of(Errc::invalid_argument, Operation::open), path,
                     "a path without a zero byte");
  }
  const std::int64_t result = os::open_file(path.c_str());
  if (result < 0) return error_from_file(result, Operation::open, path);
  auto opened = std::make_shared<Open>(static_cast<os::Native>(result), path);
  os::FileInfo info;
  if (const std::int64_t found = os::find_file_info(opened->native, info); found < 0)
    return error_from_file(found, Operation::open, path);
  if (!info.is_regular) {
    const Errc code = info.is_directory ? Errc::is_a_directory : Errc::not_supported;
    return with_path(Error::of(code, Operation::open), path, "a regular file");
  }
  opened->size_bytes = info.size_bytes;
  return File(std::move(opened));
}

// Fills `target` until it is full or the file ends, and trims it then.
Result<Buf> File::read_blocking(const StopAsked& stop, const std::shared_ptr<const Open>& from,
                                std::uint64_t offset, Buf& target) {
  std::size_t filled = 0;
  while (filled < target.size()) {
    if (stop.asked()) return Error::of(Errc::cancelled, Operation::read);
    const std::size_t count = std::min(target.size() - filled, kPieceBytes);
    const std::int64_t result =
        os::read_file(from->native, target.writable() + filled, count, offset + filled);
    if (result < 0) return error_from_file(result, Operation::read, from->path);
    if (result == 0) break;
    filled += static_cast<std::size_t>(result);
  }
  target.trim_back(target.size() - filled);
  if (target.empty()) return Buf();
  return std::move(target);
}

// Files of /proc say that they are empty; others may grow while they are read. So the end is what a read says.
Result<Buf> File::read_whole(const StopAsked& stop, const std::string& path,
                             std::uint64_t bytes_max) {
  constexpr std::uint64_t kBufMax = 0xffff'0000;  // Buf::make's
  bytes_max = std::min(bytes_max, kBufMax);
  Result<File> file = File::open_blocking(path);
  if (!file.ok()) return file.error();
  const Error too_long = with_path(Error::of(Errc::message_too_long, Operation::read), path,
                                   "a file of at most bytes_max");
  if (file->size_bytes() > bytes_max) return too_long;
  const std::uint64_t first_bytes = file->size_bytes() != 0 ? file->size_bytes() : kUnknownBytes;
  for (std::uint64_t size = std::min(first_bytes, bytes_max);;
       size = std::min(size * 2, bytes_max)) {
    Buf target = Buf::make(static_cast<std::size_t>(size) + 1);  // one more shows whether it ends
    Result<Buf> got = read_blocking(stop, file->open_, 0, target);
    if (!got.ok() || got->size() <= size) return got;
    if (size == bytes_max) return too_long;
  }
}

Result<Buf> read_file_blocking(const std::string& path, std::uint64_t bytes_max) {
  const std::atomic<bool> is_asked = false;
  return File::read_whole(StopAsked(is_asked), path, bytes_max);
}

Task<Buf> read_file(std::string path, FileOptions options) {
  co_return co_await offload(offload_options(options), File::read_whole, path, options.bytes_max);
}

Task<File> File::open(std::string path, FileOptions options) {
  co_return co_await offload(offload_options(options), open_blocking, path);
}

std::uint64_t File::size_bytes() const {
  WEIR_CHECK(valid());
  return open_->size_bytes;
}

Task<Buf> File::read_at(std::uint64_t offset, std::size_t size_bytes, FileOptions options) const {
  WEIR_CHECK(valid());
  return read_from(open_, offset, size_bytes, options);
}

// The task may start, and end, when the File is gone.
Task<Buf> File::read_from(std::shared_ptr<const Open> from, std::uint64_t offset,
                          std::size_t size_bytes, FileOptions options) {
  if (size_bytes == 0) co_return Buf();
  Buf target = LoopCore::current()->allocate(size_bytes);
  co_return co_await offload(offload_options(options), read_blocking, from, offset,
                             std::move(target));
}

}  // namespace weir::inline v0
