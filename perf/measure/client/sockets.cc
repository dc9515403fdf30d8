// Connections, opened and closed in the ways that suit a client of many.
#include "sockets.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common.h"

int open_socket(int epoll, const sockaddr_in& server, std::size_t index) {
  const int one = 1;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket: %s", std::strerror(errno));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (index >= kConnectionsPerSource && (ntohl(server.sin_addr.s_addr) >> 24) == 127) {
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr =
        htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(index / kConnectionsPerSource));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(fd, reinterpret_cast<sockaddr*>(&source), sizeof source) != 0)
      fail("bind: %s", std::strerror(errno));
  }
  if (connect(fd, reinterpret_cast<const sockaddr*>(&server), sizeof server) != 0)
    fail("connection %zu: connect: %s", index, std::strerror(errno));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = index;
  if (epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
    fail("epoll: %s", std::strerror(errno));
  return fd;
}

void reset_socket(int fd) {
  const linger at_once{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close(fd);
}

void receive_blocking(int fd, std::size_t index, char* to, std::size_t size) {
  const timeval limit{kSilenceMs / 1000, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  while (size != 0) {
    const ssize_t got = recv(fd, to, size, 0);
    if (got == 0) fail("connection %zu: the server closed it", index);
    if (got < 0) fail("connection %zu: no answer: %s", index, std::strerror(errno));
    to += got;
    size -= static_cast<std::size_t>(got);
  }
}

void send_blocking(int fd, std::size_t index, const char* from, std::size_t size) {
  if (send(fd, from, size, MSG_NOSIGNAL) != static_cast<ssize_t>(size))
    fail("connection %zu: send: %s", index, std::strerror(errno));
}

void raise_descriptors(std::size_t count) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (count > files.rlim_cur) {
    fail("%zu connections need more descriptors than the limit of %llu", count,
         static_cast<unsigned long long>(files.rlim_cur));
  }
}

int wait_events(int epoll, epoll_event* events, int max, std::uint64_t wait_ns) {
  constexpr std::uint64_t kSilenceNs = std::uint64_t{kSilenceMs} * 1'000'000;
  const std::uint64_t ns = std::min(wait_ns, kSilenceNs);
  const timespec limit{static_cast<time_t>(ns / 1'000'000'000),
                       static_cast<long>(ns % 1'000'000'000)};
  const int count = epoll_pwait2(epoll, events, max, &limit, nullptr);
  if (count == 0 && wait_ns >= kSilenceNs) fail("no answer within %d ms", kSilenceMs);
  return count;
}
