// Poll ops on descriptors that are not weir's (libpq, OpenSSL, c-ares), and what poll() itself promises about its wait.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
      read = Descriptor(ends[0]);
      write = Descriptor(ends[1]);
    }
  }
  void put() const { static_cast<void>(::write(write.get(), "x", 1)); }
  void take() const {
    char byte;
    static_cast<void>(::read(read.get(), &byte, 1));
  }
  Descriptor read;
  Descriptor write;
};

// A foreign descriptor must outlive what the backend knows of it.
void let_go(Rig& rig, Handle handle) {
  auto& close = rig.close(handle);
  rig.submit(close);
  AWAIT(rig, close.is_done());
}

void a_pipe_becomes_readable(Rig& rig) {
  const Pipe pipe;
  const Handle handle = rig.attach_foreign(pipe.read.get());
  auto& poll = rig.poll_op(handle, kReadable);
  for (int i = 0; i < 3; ++i) {
    rig.submit(poll);
    rig.settle();
    DEMAND(rig, poll.is_pending());
    pipe.put();
    ENDS_ONCE(rig, poll);
    DEMAND_EQ(rig, poll.result(), static_cast<int>(kReadable));
    pipe.take();
  }
  let_go(rig, handle);
}

// Nobody read: the state holds, so a new op ends at once, though no new edge comes.
void what_holds_already(Rig& rig) {
  const Pipe pipe;
  pipe.put();
  const Handle handle = rig.attach_foreign(pipe.read.get());
  auto& poll = rig.poll_op(handle, kReadable);
  for (int i = 0; i < 3; ++i) {
    rig.submit(poll);
    ENDS_ONCE(rig, poll);
    DEMAND((rig), (poll.result() & static_cast<int>(kReadable)) != 0);
  }
  let_go(rig, handle);
}

void a_pipe_is_writable(Rig& rig) {
  const Pipe pipe;
  const Handle handle = rig.attach_foreign(pipe.write.get());
  auto& poll = rig.poll_op(handle, kWritable);
  rig.submit(poll);
  ENDS_ONCE(rig, poll);
  DEMAND_EQ(rig, poll.result(), static_cast<int>(kWritable));
  let_go(rig, handle);
}

void a_pipe_hangs_up(Rig& rig) {
  Pipe pipe;
  const Handle handle = rig.attach_foreign(pipe.read.get());
  auto& poll = rig.poll_op(handle, kReadable);
  rig.submit(poll);
  rig.settle();
  pipe.write.reset();
  ENDS_ONCE(rig, poll);
  DEMAND(rig, (poll.result() & static_cast<int>(kPollHangup)) != 0);
  let_go(rig, handle);
}

void readable_and_writable_apart(Rig& rig) {
  int ends[2];
  DEMAND_EQ(rig, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  const Descriptor near(ends[0]);
  const Descriptor far(ends[1]);
  const Handle handle = rig.attach_foreign(near.get());
  auto& readable = rig.poll_op(handle, kReadable);
  auto& writable = rig.poll_op(handle, kWritable);
  rig.submit(readable);
  rig.submit(writable);
  ENDS_ONCE(rig, writable);
  DEMAND(rig, readable.is_pending());
  DEMAND_EQ(rig, ::write(far.get(), "x", 1), 1);
  ENDS_ONCE(rig, readable);
  let_go(rig, handle);
}

void multishot(Rig& rig) {
  const Pipe pipe;
  const Handle handle = rig.attach_foreign(pipe.read.get());
  auto& poll = rig.poll_op(handle, kReadable, true);
  rig.submit(poll);
  for (std::size_t i = 1; i <= 4; ++i) {
    pipe.put();
    AWAIT(rig, poll.completions().size() >= i);
    DEMAND(rig, poll.is_pending());
    pipe.take();
    rig.settle();
  }
  rig.cancel(poll);
  ENDS_ONCE(rig, poll);
  DEMAND_EQ(rig, poll.result(), -ECANCELED);
  let_go(rig, handle);
}

// ---- the wait of poll() itself

void waits_until_the_deadline(Rig& rig) {
  rig.settle();
  for (const auto wait :
       {nanoseconds(300'000), nanoseconds(milliseconds(3)), nanoseconds(milliseconds(20))}) {
    const std::uint64_t deadline = rig.backend().now() + static_cast<std::uint64_t>(wait.count());
    std::uint64_t polls = 0;
    while (rig.backend().now() < deadline) {  // It may wake early; it may not spin.
      rig.backend().poll(deadline, rig.sink());
      ++polls;
    }
    DEMAND(rig, polls <= 3);
  }
}

void does_not_wait_at_zero(Rig& rig) {
  rig.settle();
  const std::uint64_t start = rig.backend().now();
  for (int i = 0; i < 100; ++i) rig.step();
  DEMAND(rig, rig.backend().now() - start < 100'000'000);
}

// What is there already ends any wait.
void does_not_wait_past_a_result(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  rig.settle();
  for (std::size_t i = 1; i <= 20; ++i) {
    peer.send(10);
    const std::uint64_t start = rig.backend().now();
    while (recv.bytes.size() < i * 10) rig.step(milliseconds(2000));
    DEMAND(rig, rig.backend().now() - start < 1'000'000'000);
  }
}

// A cancel of something that the kernel already gave up is a result too: a loop that sleeps on it would sleep for good.
void does_not_wait_past_a_cancel(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  rig.settle();
  rig.cancel(recv);
  const std::uint64_t start = rig.backend().now();
  for (int i = 0; i < 4 && recv.is_pending(); ++i) rig.step(milliseconds(2000));
  DEMAND(rig, !recv.is_pending());
  DEMAND(rig, rig.backend().now() - start < 1'000'000'000);
}

void hints_at_what_is_left(Rig& rig) {
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  rig.settle();
  DEMAND(rig, !rig.backend().pending_hint());
  rig.cancel(recv);
  AWAIT(rig, recv.is_done());
  rig.settle();
  DEMAND(rig, !rig.backend().pending_hint());
}

void wait_handle_becomes_readable(Rig& rig) {
  const std::intptr_t wait_handle = rig.backend().wait_handle();
  DEMAND_EQ(rig, wait_handle >= 0, rig.backend().caps().wait_handle);
  if (wait_handle < 0) return rig.skip("this backend has nothing that another loop could wait on");
  Peer peer;
  const Handle handle = rig.connected(peer);
  auto& recv = rig.recv_group(handle, true);
  rig.submit(recv);
  rig.settle();
  pollfd entry{.fd = static_cast<int>(wait_handle), .events = POLLIN, .revents = 0};
  DEMAND_EQ(rig, ::poll(&entry, 1, 0), 0);
  peer.send(10);
  DEMAND_EQ(rig, ::poll(&entry, 1, static_cast<int>(rig.options().patience.count())), 1);
  rig.step();
  AWAIT(rig, recv.bytes.size() == 10);
}

const Row kRows[] = {
    {"APipeBecomesReadable", 0, a_pipe_becomes_readable},
    {"WhatHoldsAlready", 0, what_holds_already},
    {"APipeIsWritable", 0, a_pipe_is_writable},
    {"APipeHangsUp", 0, a_pipe_hangs_up},
    {"ReadableAndWritableApart", 0, readable_and_writable_apart},
    {"PollMultishot", 0, multishot},
    {"PollWaitsUntilTheDeadline", 0, waits_until_the_deadline},
    {"PollDoesNotWaitAtZero", 0, does_not_wait_at_zero},
    {"PollDoesNotWaitPastAResult", 0, does_not_wait_past_a_result},
    {"PollDoesNotWaitPastACancel", 0, does_not_wait_past_a_cancel},
    {"HintsAtWhatIsLeft", 0, hints_at_what_is_left},
    {"WaitHandleBecomesReadable", 0, wait_handle_becomes_readable},
};

}  // namespace

std::span<const Row> poll_rows() { return kRows; }

}  // namespace weir::test
