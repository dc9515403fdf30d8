// The test's own sockets. Nothing here uses weir but its Address.
#include "tests/rig/peer.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "weir/check.h"

namespace weir::test {
namespace {

struct Native {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Native to_native(const Address& address) {
  Native native;
  if (address.family == Family::ipv6) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&native.storage);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(address.port);
    in6->sin6_scope_id = address.scope_id;
    std::memcpy(&in6->sin6_addr, address.ip.data(), 16);
    native.size = sizeof(sockaddr_in6);
  } else {
    auto* in = reinterpret_cast<sockaddr_in*>(&native.storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(address.port);
    std::memcpy(&in->sin_addr, address.ip.data(), 4);
    native.size = sizeof(sockaddr_in);
  }
  return native;
}

Address from_native(const Native& native) {
  Address address;
  if (native.storage.ss_family == AF_INET6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&native.storage);
    address.family = Family::ipv6;
    address.port = ntohs(in6->sin6_port);
    address.scope_id = in6->sin6_scope_id;
    std::memcpy(address.ip.data(), &in6->sin6_addr, 16);
  } else {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&native.storage);
    address.family = Family::ipv4;
    address.port = ntohs(in->sin_port);
    std::memcpy(address.ip.data(), &in->sin_addr, 4);
  }
  return address;
}

int domain(Family family) { return family == Family::ipv6 ? AF_INET6 : AF_INET; }

void make_non_blocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

// Binds `fd` to an ephemeral loopback port; an address without a family when that fails.
Address bind_loopback(int fd, Family family) {
  Native native = to_native(loopback(family, 0));
  if (fd < 0 || ::bind(fd, native.get(), native.size) != 0) return {};
  Native bound;
  if (::getsockname(fd, bound.get(), &bound.size) != 0) return {};
  return from_native(bound);
}

char pattern_byte(std::size_t place) {
  return static_cast<char>((place * 131 + (place >> 8) * 7 + (place >> 16)) & 0xff);
}

constexpr std::size_t kPeriod = 1 << 24;  // of pattern_byte
constexpr std::size_t kPieceMax = 64 << 10;

// The pattern from `offset` on, at most kPieceMax of it. Rows send and compare many megabytes, a byte at a time slowly in a
// build that is not optimised; so each byte is made once.
std::string_view pattern_piece(std::size_t offset, std::size_t count) {
  static char bytes[kPeriod + kPieceMax];
  static std::size_t made = 0;
  static std::mutex mutex;
  offset %= kPeriod;
  count = std::min(count, kPieceMax);
  const std::lock_guard lock(mutex);
  for (; made < offset + count; ++made) bytes[made] = pattern_byte(made);
  return {bytes + offset, count};
}

}  // namespace

std::string pattern(std::size_t offset, std::size_t count) {
  std::string bytes;
  bytes.reserve(count);
  while (bytes.size() < count) bytes += pattern_piece(offset + bytes.size(), count - bytes.size());
  return bytes;
}

std::size_t first_difference(std::string_view bytes, std::size_t offset) {
  for (std::size_t at = 0; at < bytes.size();) {
    const std::string_view right = pattern_piece(offset + at, bytes.size() - at);
    const std::string_view piece = bytes.substr(at, right.size());
    if (piece != right) {
      const auto wrong = std::mismatch(piece.begin(), piece.end(), right.begin()).first;
      return at + static_cast<std::size_t>(wrong - piece.begin());
    }
    at += right.size();
  }
  return std::string_view::npos;
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

int Descriptor::release() { return std::exchange(fd_, -1); }

void Descriptor::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Peer Peer::connect(const Address& to) {
  Descriptor fd(::socket(domain(to.family), SOCK_STREAM | SOCK_CLOEXEC, 0));
  Native native = to_native(to);
  if (fd.get() < 0 || ::connect(fd.get(), native.get(), native.size) != 0) return Peer();
  make_non_blocking(fd.get());
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return Peer(std::move(fd));
}

void Peer::send(std::size_t count) {
  const std::size_t sent = send_some(count);
  WEIR_CHECK_EQ(sent, count);  // A row that sends this much needs larger buffers or send_some.
}

std::size_t Peer::send_some(std::size_t max) {
  std::size_t total = 0;
  while (total < max) {
    const std::string_view bytes = pattern_piece(sent_bytes_, max - total);
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN && errno != EINTR) error_ = errno;
      break;
    }
    total += static_cast<std::size_t>(sent);
    sent_bytes_ += static_cast<std::size_t>(sent);
    if (static_cast<std::size_t>(sent) < bytes.size()) break;
  }
  return total;
}

void Peer::finish() { ::shutdown(fd_.get(), SHUT_WR); }

void Peer::reset() {
  const linger abort{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
  fd_.reset();
}

void Peer::small_buffers() {
  const int least = 1;  // The kernel rounds it up to what it needs.
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
}

std::size_t Peer::read_some(std::size_t max) {
  std::size_t total = 0;
  char bytes[16 << 10];
  while (total < max && is_open() && !is_eof_ && error_ == 0) {
    const ssize_t got = ::recv(fd_.get(), bytes, std::min(max - total, sizeof(bytes)), 0);
    if (got > 0) {
      received_.append(bytes, static_cast<std::size_t>(got));
      total += static_cast<std::size_t>(got);
    } else if (got == 0) {
      is_eof_ = true;
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  return total;
}

PeerListener::PeerListener(Family family, int backlog)
    : fd_(::socket(domain(family), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  address_ = bind_loopback(fd_.get(), family);
  if (address_.family == Family::none || ::listen(fd_.get(), backlog) != 0) fd_.reset();
}

Peer PeerListener::accept() {
  const int fd = ::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return Peer();
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return Peer(Descriptor(fd));
}

PeerListener::Pair PeerListener::connected_pair() {
  Pair pair;
  pair.near = Descriptor(::socket(domain(address_.family), SOCK_STREAM | SOCK_CLOEXEC, 0));
  Native native = to_native(address_);
  WEIR_CHECK(pair.near.get() >= 0);
  const bool is_connected = ::connect(pair.near.get(), native.get(), native.size) == 0;
  WEIR_CHECK_EQ(is_connected ? 0 : errno, 0);
  const int on = 1;
  ::setsockopt(pair.near.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  pair.far = accept();
  WEIR_CHECK(pair.far.is_open());
  return pair;
}

PeerDatagram::PeerDatagram(Family family)
    : fd_(::socket(domain(family), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  address_ = bind_loopback(fd_.get(), family);
}

void PeerDatagram::send_to(const Address& to, std::string_view bytes) {
  Native native = to_native(to);
  const ssize_t sent =
      ::sendto(fd_.get(), bytes.data(), bytes.size(), 0, native.get(), native.size);
  WEIR_CHECK_EQ(sent, static_cast<ssize_t>(bytes.size()));
}

bool PeerDatagram::receive(std::string& bytes, Address& from) {
  Native native;
  bytes.resize(64 << 10);
  const ssize_t got =
      ::recvfrom(fd_.get(), bytes.data(), bytes.size(), 0, native.get(), &native.size);
  bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  if (got < 0) return false;
  from = from_native(native);
  return true;
}

FullListener::FullListener() {
  Native native = to_native(listener_.address());
  for (int i = 0; i < 3; ++i) {
    Descriptor fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    static_cast<void>(::connect(fd.get(), native.get(), native.size));
    fillers_.push_back(std::move(fd));
  }
}

void FullListener::make_room() {
  fillers_.clear();
  while (listener_.accept().is_open()) {
  }
}

NoDescriptors::NoDescriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  before_ = limit.rlim_cur;
  const Descriptor lowest(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  limit.rlim_cur = static_cast<rlim_t>(lowest.get());
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

NoDescriptors::~NoDescriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = before_;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::size_t open_descriptor_count() {
  std::size_t count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

bool has_ipv6() {
  static const bool has = PeerListener(Family::ipv6).is_open();
  return has;
}

Address loopback(Family family, std::uint16_t port) {
  Address address = Address::loopback(port);
  if (family == Family::ipv6) {
    address = {};
    address.family = Family::ipv6;
    address.ip[15] = 1;
    address.port = port;
  }
  return address;
}

Address refused_address() { return PeerListener().address(); }

}  // namespace weir::test
