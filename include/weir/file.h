// Files, read on the threads of an offload pool: a slow disk or a dead network mount delays whoever reads, and no socket.
//
//     weir::Buf page = co_await weir::read_file("/srv/index.html");
//     weir::File log = co_await weir::File::open(path);
//     weir::Buf tail = co_await log.read_at(log.size_bytes() - 4096, 4096);
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "weir/buffer.h"
#include "weir/offload.h"
#include "weir/result.h"
#include "weir/task.h"

namespace weir::inline v0 {

struct FileOptions {
  Duration timeout{0};                 ///< from the call to the outcome; 0: none
  std::uint64_t bytes_max = 64 << 20;  ///< of read_file(): a longer file is message_too_long
  OffloadPool* pool = nullptr;         ///< null: the loop's own
};

/// The whole of a regular file; an empty Buf for an empty one.
/// Errors: not_found, access_denied, is_a_directory, not_supported for what is no regular file, message_too_long, …, with
///         the end of the path in the text; those of offload(). It waits for room in the queue of class file.
WEIR_API Task<Buf> read_file(std::string path, FileOptions options = {});
/// The same at once, on this thread: for work with a callback (OffloadCall).
WEIR_API Result<Buf> read_file_blocking(const std::string& path,
                                        std::uint64_t bytes_max = FileOptions().bytes_max);

/// A regular file that is open for reading.
/// Owner:   whoever made it. It is closed when it is destroyed and no read of it runs any more.
/// Threads: its loop's own.
class WEIR_API File {
 public:
  /// Errors: as those of read_file().
  static Task<File> open(std::string path, FileOptions options = {});

  File() = default;
  bool valid() const { return open_ != nullptr; }
  std::uint64_t size_bytes() const;  ///< when it was opened
  /// `size_bytes` from `offset`, fewer only at the end of the file; an empty Buf behind it. Several may be under way.
  /// Errors: what the system says. Misuse: a file that is not valid aborts, as do 4 GiB and more.
  Task<Buf> read_at(std::uint64_t offset, std::size_t size_bytes, FileOptions options = {}) const;

 private:
  struct Open;
  explicit File(std::shared_ptr<const Open> opened) : open_(std::move(opened)) {}
  static Result<File> open_blocking(const std::string& path);
  static Task<Buf> read_from(std::shared_ptr<const Open> from, std::uint64_t offset,
                             std::size_t size_bytes, FileOptions options);
  static Result<Buf> read_blocking(const StopAsked& stop, const std::shared_ptr<const Open>& from,
                                   std::uint64_t offset, Buf& target);
  static Result<Buf> read_whole(const StopAsked& stop, const std::string& path,
                                std::uint64_t bytes_max);
  friend Result<Buf> read_file_blocking(const std::string& path, std::uint64_t bytes_max);
  friend Task<Buf> read_file(std::string path, FileOptions options);
  std::shared_ptr<const Open> open_;
};

}  // namespace weir::inline v0
