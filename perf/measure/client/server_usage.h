// What another process has used: CPU time of all its threads, and the system calls they entered.
#pragma once
#include <dirent.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "common.h"

inline std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> threads;
  DIR* dir = opendir(("/proc/" + std::to_string(pid) + "/task").c_str());
  if (dir == nullptr) fail("no process %d", pid);
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') threads.push_back(std::atoi(entry->d_name));
  }
  closedir(dir);
  return threads;
}

inline bool read_file(const std::string& path, char* to, std::size_t size) {
  std::FILE* file = std::fopen(path.c_str(), "r");
  if (file == nullptr) return false;
  to[std::fread(to, 1, size - 1, file)] = '\0';
  std::fclose(file);
  return true;
}

/// Nanoseconds from schedstat: exact while the process sleeps, else as of its last tick.
inline std::uint64_t cpu_ns_of(pid_t pid) {
  std::uint64_t total = 0;
  for (const pid_t thread : threads_of(pid)) {
    char text[128];
    const std::string path =
        "/proc/" + std::to_string(pid) + "/task/" + std::to_string(thread) + "/schedstat";
    if (read_file(path, text, sizeof text)) total += std::strtoull(text, nullptr, 10);
  }
  return total;
}

/// Counts the system calls that the present threads of a process enter, while this lives. The
/// raw_syscalls tracepoint slows every system call of the machine meanwhile, so do not measure time
/// beside it.
class SyscallCounter {
 public:
  explicit SyscallCounter(pid_t pid) {
    char id[32];
    if (!read_file("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", id, sizeof id) &&
        !read_file("/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id", id, sizeof id)) {
      fail("no raw_syscalls tracepoint: mount tracefs at /sys/kernel/tracing, as root");
    }
    perf_event_attr attr{};
    attr.size = sizeof attr;
    attr.type = PERF_TYPE_TRACEPOINT;
    attr.config = std::strtoull(id, nullptr, 10);
    for (const pid_t thread : threads_of(pid)) {
      const long fd = syscall(SYS_perf_event_open, &attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
      if (fd < 0) fail("perf_event_open: %s", std::strerror(errno));
      counters_.push_back(static_cast<int>(fd));
    }
  }
  ~SyscallCounter() {
    for (const int fd : counters_) close(fd);
  }
  SyscallCounter(const SyscallCounter&) = delete;
  SyscallCounter& operator=(const SyscallCounter&) = delete;

  std::uint64_t read_count() const {
    std::uint64_t total = 0;
    for (const int fd : counters_) {
      std::uint64_t count = 0;
      if (read(fd, &count, sizeof count) != sizeof count)
        fail("reading a counter: %s", std::strerror(errno));
      total += count;
    }
    return total;
  }

 private:
  std::vector<int> counters_;
};
