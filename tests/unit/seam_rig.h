// A loop's place without a loop: drives one backend through the seam, op by op, and counts its system calls.
#pragma once
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "src/os/os.h"
#include "weir/backend.h"

namespace weir::test {

/// Delivers by hand: next() takes control first, then data, and ends ops as a loop does.
class HandSink final : public Sink {
 public:
  using Sink::Sink;
  void set_room(std::uint32_t room) { room_ = room; }
  std::uint32_t waiting() const { return control_.size() + data_.size(); }
  std::uint32_t waiting_control() const { return control_.size(); }
  std::uint64_t stale() const { return stale_; }
  bool next(Completion& out) {
    Queue& queue = control_.empty() ? data_ : control_;
    if (queue.empty()) return false;
    out = queue.front();
    ++queue.head;
    Op* op = ops_.find(out.id);
    if (op == nullptr) return true;
    --op->undelivered;
    if (out.is_terminal()) op->state = OpState::idle;
    return true;
  }
};

struct SeamRig {
  OpTable ops;
  Metrics metrics;
  Limits limits;
  HandSink sink{ops};
  std::unique_ptr<Backend> backend;

  explicit SeamRig(std::string_view name, const Limits& with = {}) : limits(with) {
    Result<ChosenBackend> made = make_backend(name, {ops, metrics, limits});
    EXPECT_TRUE(made.ok()) << made.error().to_string();
    backend = std::move(made.value().backend);
  }

  /// Submits; an immediate answer is returned as the loop would see it.
  Submitted submit(Op& op) {
    if (op.id.value == ~std::uint64_t{0}) ops.adopt(op);
    ops.begin(op);
    const Submitted submitted = backend->submit(op);
    if (submitted.done) op.state = OpState::idle;
    return submitted;
  }
  /// One poll, which waits at most `wait_ns`, then everything that was delivered.
  std::vector<Completion> poll(std::uint64_t wait_ns = 0, std::uint32_t room = 256) {
    sink.set_room(room);
    backend->poll(wait_ns == 0 ? 0 : backend->now() + wait_ns, sink);
    std::vector<Completion> out;
    for (Completion completion; sink.next(completion);) out.push_back(completion);
    return out;
  }
  /// Polls until something is delivered, for a second at most.
  std::vector<Completion> wait() {
    const std::uint64_t end_ns = backend->now() + 1'000'000'000;
    while (backend->now() < end_ns) {
      if (std::vector<Completion> out = poll(100'000'000); !out.empty()) return out;
    }
    return {};
  }
  /// Submits and waits for the terminal, whichever way it comes.
  Completion run(Op& op) {
    const Submitted submitted = submit(op);
    if (submitted.done) return submitted.completion;
    const OpId id = op.id;
    for (;;) {
      const std::vector<Completion> out = wait();
      if (out.empty()) break;
      for (const Completion& completion : out) {
        if (completion.id == id && completion.is_terminal()) return completion;
      }
    }
    ADD_FAILURE() << "no terminal of op " << id.value;
    return {};
  }
  /// A connected pair of TCP sockets, both of this backend.
  struct Pair {
    Handle client, server;
  };
  Pair connect() {
    SocketSpec spec;
    spec.bind = Address::loopback(0);
    spec.backlog = 8;
    const Handle listener = backend->open(spec).value();
    AcceptOp accept;
    accept.kind = OpKind::accept;
    accept.handle = listener;
    submit(accept);
    ConnectOp connect;
    connect.kind = OpKind::connect;
    connect.handle = backend->open({}).value();
    connect.peer = backend->local_address(listener).value();
    Completion accepted;
    const Submitted submitted = submit(connect);
    while (accept.state != OpState::idle || connect.state != OpState::idle) {
      for (const Completion& completion : wait()) {
        EXPECT_GE(completion.result, 0);
        if (completion.has(kHandle)) accepted = completion;
      }
    }
    EXPECT_TRUE(!submitted.done || submitted.completion.result == 0);
    ops.abandon(accept);
    CloseOp close;
    close.kind = OpKind::close;
    close.handle = listener;
    EXPECT_EQ(run(close).result, 0);
    ops.abandon(close);
    const Handle client = connect.handle;
    ops.abandon(connect);
    return {client, Handle{accepted.buffer}};
  }
};

/// An op of its kind on `handle`, ready to submit.
template <typename T>
T make_op(OpKind kind, Handle handle) {
  T op;
  op.kind = kind;
  op.handle = handle;
  return op;
}

inline RecvOp recv_into(Handle handle, std::byte* target, std::uint32_t bytes_max) {
  auto op = make_op<RecvOp>(OpKind::recv, handle);
  op.target = target;
  op.bytes_max = bytes_max;
  return op;
}

}  // namespace weir::test
