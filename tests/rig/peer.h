// The far end of a connection under test: plain sockets of the test itself, never weir's, on ephemeral loopback ports.
// All are non-blocking; a test that has to wait for one does so in Rig::run_until, so every wait has a deadline.
// Bytes follow one pattern that depends on their place in the stream, so that a lost, doubled or swapped byte shows.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weir/address.h"
#include "weir/backend.h"

namespace weir::test {

/// The bytes that belong at [offset, offset + count) of a stream.
std::string pattern(std::size_t offset, std::size_t count);
/// The first place where `bytes` is not pattern(offset, …); npos when it is right.
std::size_t first_difference(std::string_view bytes, std::size_t offset = 0);

/// One descriptor, closed at the end.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { reset(); }
  int get() const { return fd_; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

/// The far end of a stream. What it sends continues the pattern; what it reads is kept.
class Peer {
 public:
  Peer() = default;
  explicit Peer(Descriptor fd) : fd_(std::move(fd)) {}
  /// A connected stream to `to` (blocking connect; loopback answers at once), or one without a descriptor.
  static Peer connect(const Address& to);

  int fd() const { return fd_.get(); }
  bool is_open() const { return fd_.get() >= 0; }

  void send(
      std::size_t
          count);  ///< exactly the next `count` bytes of the pattern; aborts when they do not fit
  std::size_t send_some(std::size_t max);  ///< as many as fit now
  void finish();                           ///< FIN
  void reset();                            ///< RST, and closes
  void close() { fd_.reset(); }
  void small_buffers();  ///< as little kernel memory as it gives

  /// Reads what is there, at most `max` bytes; sets is_eof() and error() as they come.
  std::size_t read_some(std::size_t max = ~std::size_t{0});
  const std::string& received() const { return received_; }
  std::size_t sent_bytes() const { return sent_bytes_; }
  bool is_eof() const { return is_eof_; }
  int error() const { return error_; }  ///< a positive errno, or 0

 private:
  Descriptor fd_;
  std::string received_;
  std::size_t sent_bytes_ = 0;
  bool is_eof_ = false;
  int error_ = 0;
};

/// A plain listening socket on an ephemeral port.
class PeerListener {
 public:
  explicit PeerListener(Family family = Family::ipv4, int backlog = 64);
  const Address& address() const { return address_; }
  bool is_open() const { return fd_.get() >= 0; }
  /// The next connection, or one without a descriptor when none is there.
  Peer accept();
  /// Two ends of one TCP connection: a plain descriptor for the backend to attach, and the peer.
  struct Pair {
    Descriptor near;
    Peer far;
  };
  Pair connected_pair();

 private:
  Descriptor fd_;
  Address address_;
};

/// A datagram socket of the test, bound to an ephemeral port.
class PeerDatagram {
 public:
  explicit PeerDatagram(Family family = Family::ipv4);
  const Address& address() const { return address_; }
  int fd() const { return fd_.get(); }
  void send_to(const Address& to, std::string_view bytes);
  /// The next datagram and its sender; false when none is there.
  bool receive(std::string& bytes, Address& from);

 private:
  Descriptor fd_;
  Address address_;
};

/// A listener whose queue is full while it lives: the kernel drops what else comes, so a connect to it waits (and tries
/// again after a second).
class FullListener {
 public:
  FullListener();
  const Address& address() const { return listener_.address(); }
  void make_room();

 private:
  PeerListener listener_{Family::ipv4, 0};
  std::vector<Descriptor> fillers_;
};

/// Leaves the process no descriptor to open while it lives: the limit drops to the lowest number that is free.
class NoDescriptors {
 public:
  NoDescriptors();
  ~NoDescriptors();

 private:
  std::uint64_t before_ = 0;
};

std::size_t open_descriptor_count();

/// Does this machine have an IPv6 loopback?
bool has_ipv6();
Address loopback(Family family, std::uint16_t port);
/// A port of 127.0.0.1 that nobody listens on.
Address refused_address();

}  // namespace weir::test
