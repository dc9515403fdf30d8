// The rehearsal: a small ring of its own, two connected sockets, and a script for each feature.
#include "backends/io_uring/self_test.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "backends/io_uring/ring.h"
#include "src/os/os.h"

namespace weir::inline v0::uring {
namespace {

constexpr std::uint64_t kPatienceNs = 20'000'000;  // for a completion that should be there at once
constexpr unsigned kEntries = 8;
constexpr int kGroup = 0;

// Two ends of a TCP connection over loopback; zero-copy has nothing to say about other sockets.
class Pair {
 public:
  Pair() {
    SocketSpec spec;
    spec.bind = Address::loopback(0);
    spec.backlog = 1;
    const std::int64_t listener = os::open_socket(spec, false);
    Address address;
    if (listener >= 0 && os::local_address(listener, address) == 0) {
      near_ = os::open_socket({}, false);
      if (near_ >= 0 && os::connect(near_, address) == 0) far_ = os::accept(listener, false);
    }
    if (listener >= 0) os::close(listener);
  }
  ~Pair() {
    finish();
    if (near_ >= 0) os::close(near_);
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  bool is_open() const { return far_ >= 0; }
  int near() const { return static_cast<int>(near_); }
  /// As little memory in between as the kernel allows.
  void shrink() const {
    os::set_option(near_, SocketOption::send_buffer_bytes, 1);
    os::set_option(far_, SocketOption::receive_buffer_bytes, 1);
  }
  bool send() const { return os::send(far_, "w", 1) == 1; }
  void receive() const {
    char byte;
    os::recv(far_, &byte, 1);
  }
  void finish() {
    if (far_ >= 0) os::close(far_);
    far_ = -1;
  }

 private:
  std::int64_t near_ = -1;
  std::int64_t far_ = -1;
};

class Rehearsal {
 public:
  explicit Rehearsal(Kernel mask) : is_open_(ring_.open(mask, kEntries) == 0) {}
  bool is_open() const { return is_open_; }

  bool multishot_recv();
  bool quiet_send();
  bool zero_copy_send();

 private:
  struct Result {
    std::int32_t res;
    std::uint32_t flags;
  };
  // The next completion, or none within the patience.
  std::optional<Result> next() {
    std::optional<Result> out;
    if (ring_.ready() == 0) ring_.enter(0, Ring::kNever);
    if (ring_.ready() == 0) ring_.enter(1, os::now_ns() + kPatienceNs);
    ring_.reap_one([&](const io_uring_cqe& cqe) { out = Result{cqe.res, cqe.flags}; });
    return out;
  }
  bool has_nothing() {
    ring_.enter(0, Ring::kNever);
    return ring_.ready() == 0;
  }

  Ring ring_;
  bool is_open_;
};

// Two buffers, three bytes one by one: each buffer once and in the order of the ring, then the end for want of a
// buffer, with no byte lost; at the peer's end a last completion without a buffer.
bool Rehearsal::multishot_recv() {
  Pair pair;
  int error = 0;
  std::array<char, 2> memory{};
  io_uring_buf_ring* const buffers = io_uring_setup_buf_ring(&ring_.native(), 2, kGroup, 0, &error);
  if (buffers == nullptr || !pair.is_open()) return buffers != nullptr;
  const auto post = [&] {
    io_uring_buf_ring_add(buffers, &memory[1], 1, 1, 1, 0);
    io_uring_buf_ring_add(buffers, &memory[0], 1, 0, 1, 1);
    io_uring_buf_ring_advance(buffers, 2);
  };
  const auto arm = [&] {
    io_uring_sqe& entry = ring_.next();
    io_uring_prep_recv_multishot(&entry, pair.near(), nullptr, 0, 0);
    entry.flags |= IOSQE_BUFFER_SELECT;
    entry.buf_group = kGroup;
  };
  const auto is_byte = [&](unsigned id) {
    const std::optional<Result> got = next();
    constexpr std::uint32_t kArmed = IORING_CQE_F_MORE | IORING_CQE_F_BUFFER;
    return got && got->res == 1 && (got->flags & kArmed) == kArmed &&
           got->flags >> IORING_CQE_BUFFER_SHIFT == id;
  };
  const auto is_end = [&](std::int32_t result) {
    const std::optional<Result> got = next();
    return got && got->res == result &&
           (got->flags & (IORING_CQE_F_MORE | IORING_CQE_F_BUFFER)) == 0;
  };
  post();
  arm();
  bool is_right =
      pair.send() && is_byte(1) && pair.send() && is_byte(0) && pair.send() && is_end(-ENOBUFS);
  post();
  arm();
  is_right = is_right && is_byte(1);
  pair.finish();
  is_right = is_right && is_end(0);
  io_uring_free_buf_ring(&ring_.native(), buffers, 2, kGroup);
  return is_right;
}

// Success says nothing; a socket without room says so at once, or how much it took.
bool Rehearsal::quiet_send() {
  Pair pair;
  if (!pair.is_open()) return true;
  const std::vector<char> bytes(64 << 10);
  pair.shrink();
  const auto send = [&](std::size_t size) {
    io_uring_sqe& entry = ring_.next();
    io_uring_prep_send(&entry, pair.near(), bytes.data(), size,
                       MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT);
    entry.flags |= IOSQE_CQE_SKIP_SUCCESS;
  };
  send(1);
  if (!has_nothing()) return false;
  constexpr int kSendsMax = 256;  // 16 MiB fill any pair of buffers
  for (int i = 0; i < kSendsMax; ++i) {
    send(bytes.size());
    if (has_nothing()) continue;
    const std::int32_t result = next()->res;
    return result == -EAGAIN || (result > 0 && result < static_cast<std::int32_t>(bytes.size()));
  }
  return false;
}

// The result, with more to come; then the notification.
bool Rehearsal::zero_copy_send() {
  Pair pair;
  if (!pair.is_open()) return true;
  static constexpr char kByte = 'w';
  io_uring_prep_send_zc(&ring_.next(), pair.near(), &kByte, 1, MSG_NOSIGNAL, 0);
  const std::optional<Result> result = next();
  if (!result || result->res != 1 || (result->flags & IORING_CQE_F_MORE) == 0) return false;
  pair.receive();
  const std::optional<Result> notification = next();
  return notification && (notification->flags & IORING_CQE_F_NOTIF) != 0;
}

}  // namespace

std::vector<std::string> self_test(Features& features, Kernel mask) {
  Rehearsal rehearsal(mask);
  if (!rehearsal.is_open()) return {"self-test: there was no second ring to run it on"};
  std::vector<std::string> notes;
  const auto check = [&](bool is_right, const char* name) {
    notes.push_back(std::string(name) + (is_right ? ": on" : ": off, it failed its self-test"));
    return is_right;
  };
  if (features.has(Use::recv_multishot) && !check(rehearsal.multishot_recv(), "multishot recv")) {
    features.drop(Use::recv_multishot);
    features.drop(Use::buffer_ring);
  }
  if (features.has(Use::skip_success) && !check(rehearsal.quiet_send(), "quiet send")) {
    features.drop(Use::skip_success);
  }
  if (features.has_opcode(IORING_OP_SEND_ZC) &&
      !check(rehearsal.zero_copy_send(), "zero-copy send")) {
    features.drop_opcode(IORING_OP_SEND_ZC);
    features.drop_opcode(IORING_OP_SENDMSG_ZC);
  }
  return notes;
}

}  // namespace weir::inline v0::uring
