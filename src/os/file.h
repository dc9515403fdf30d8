// Files and names, as the os room offers them: calls that block, for the threads of an offload pool. They return a count
// (0 or more) or -errno in Linux's numbers on every system, and try again by themselves after EINTR.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/os/fault.h"
#include "weir/address.h"

namespace weir::inline v0::os {

/// Opens for reading. A descriptor; it does not wait for the other end of a FIFO.
std::int64_t open_file(const char* path);
std::int64_t close_file(Native native);

struct FileInfo {
  std::uint64_t size_bytes = 0;
  bool is_regular = false;
  bool is_directory = false;
};
std::int64_t find_file_info(Native native, FileInfo& out);
/// At most `size` bytes from `offset`; 0 at the end of the file.
std::int64_t read_file(Native native, void* data, std::size_t size, std::uint64_t offset);

/// Appends the addresses of `host` with the port of `service`, in the order of the system. -ENOENT: no such name, or none of
/// this family; -EAGAIN: no name server answered; -EINVAL: no such service; -EIO: a name server failed.
std::int64_t resolve(const char* host, const char* service, Family family, bool is_numeric,
                     std::vector<Address>& out);

}  // namespace weir::inline v0::os
