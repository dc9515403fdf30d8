// SeamRig with an io_uring backend of a chosen age and size, and a look at what it counted.
#pragma once
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>

#include "backends/io_uring/io_uring.h"
#include "tests/unit/seam_rig.h"

namespace weir::test {

/// Why this machine has no io_uring, or empty.
inline std::string uring_refusal() {
  OpTable ops;
  Metrics metrics;
  Limits limits;
  Result<std::unique_ptr<Backend>> made = make_io_uring_backend({}, {ops, metrics, limits});
  return made.ok() ? std::string() : made.error().to_string();
}

/// Receives one socket's bytes from the group, as a stream would, and keeps them.
struct Receiver : RecvOp {
  std::string bytes;
  std::size_t completion_count = 0;
  std::int32_t end = INT32_MIN;
  bool has_ended() const { return end != INT32_MIN; }
};

struct UringRig : SeamRig {
  static constexpr GroupId kGroup = 3;

  Ledger ledger{LedgerLevel::off};
  Pool group;
  Pool app_pool{{.block_bytes = 64 << 10, .blocks_max = 256, .slab_blocks = 16, .name = "app"},
                ledger};
  std::vector<Receiver*> receivers;

  explicit UringRig(
      uring::Kernel mask = uring::kNewestKernel, unsigned submissions = uring::Ring::kSubmissions,
      const Pool::Options& options = {.block_bytes = 4096, .blocks_max = 512, .group = kGroup})
      : SeamRig("io_uring"), group(options, ledger) {
    backend.reset();
    Result<std::unique_ptr<Backend>> made =
        uring::IoUring::make("io_uring", mask, {ops, metrics, limits}, submissions);
    EXPECT_TRUE(made.ok()) << made.error().to_string();
    backend = std::move(made).value();
    backend->provide(group);
  }
  ~UringRig() { backend.reset(); }  // before the pools

  uring::IoUring& uring() { return static_cast<uring::IoUring&>(*backend); }
  const uring::Counters& counters() { return uring().counters(); }

  void send_raw(Handle from, std::string_view text) const {
    ASSERT_EQ(
        ::send(static_cast<int>(backend->native(from)), text.data(), text.size(), MSG_NOSIGNAL),
        static_cast<ssize_t>(text.size()));
  }
  std::string read_raw(Handle to, std::size_t size_max) const {
    std::string bytes(size_max, '\0');
    const ssize_t got =
        ::recv(static_cast<int>(backend->native(to)), bytes.data(), size_max, MSG_DONTWAIT);
    bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return bytes;
  }

  BufChain chain(std::string_view text) {
    BufChain out;
    while (!text.empty()) {
      Buf piece = app_pool.take();
      const std::size_t size = std::min(text.size(), piece.size());
      std::memcpy(piece.writable(), text.data(), size);
      piece.trim_back(piece.size() - size);
      out.append(std::move(piece));
      text.remove_prefix(size);
    }
    return out;
  }

  void receive(Receiver& receiver, Handle from, bool is_multishot = true) {
    receiver.kind = OpKind::recv;
    receiver.handle = from;
    receiver.group = kGroup;
    receiver.multishot = is_multishot;
    receivers.push_back(&receiver);
    ASSERT_FALSE(submit(receiver).done);
  }
  /// One poll; receives are taken into their Receivers, the rest is returned.
  std::vector<Completion> turn(std::uint64_t wait_ns = 0) {
    std::vector<Completion> rest;
    for (const Completion& completion : poll(wait_ns)) {
      Receiver* receiver = receiver_of(completion.id);
      if (receiver == nullptr) {
        rest.push_back(completion);
        continue;
      }
      ++receiver->completion_count;
      if (completion.has(kBuf)) {
        Block& block = group.at(completion.buffer);
        receiver->bytes += group.loan(&block, completion.offset, completion.length, nullptr).text();
      }
      if (completion.is_terminal()) receiver->end = completion.result;
    }
    return rest;
  }
  /// Turns until `is_true`, for five seconds at most.
  template <typename IsTrue>
  bool turn_until(IsTrue&& is_true) {
    const std::uint64_t end_ns = backend->now() + 5'000'000'000;
    while (!is_true()) {
      if (backend->now() > end_ns) return false;
      turn(1'000'000);
    }
    return true;
  }
  void finish(Receiver& receiver) {
    if (receiver.state != OpState::idle) backend->cancel(receiver.id);
    EXPECT_TRUE(turn_until([&] { return receiver.has_ended(); }));
    ops.abandon(receiver);
    std::erase(receivers, &receiver);
  }

 private:
  Receiver* receiver_of(OpId id) const {
    for (Receiver* receiver : receivers) {
      if (receiver->id == id) return receiver;
    }
    return nullptr;
  }
};

}  // namespace weir::test
