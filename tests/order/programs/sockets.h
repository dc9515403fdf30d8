// Input from pairs of joined sockets: a byte is written to the far end with the system's own call, so that it is there
// before the next poll, and read from the near end through weir. Each pair is used once in a program.
#pragma once
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <vector>

#include "tests/order/programs/machine.h"

namespace weir::test {

class SocketInputs final : public Inputs {
 public:
  static constexpr std::size_t kCount = 24;  ///< for callbacks, and again for tasks

  explicit SocketInputs(Loop& loop) : loop_(loop) {
    reset();
    prime();
  }
  ~SocketInputs() override {
    for (auto* inputs : {&callbacks_, &tasks_})
      for (Input& input : *inputs) input.close();
  }

  bool has_free() const override { return used_callbacks_ + used_tasks_ < kCount; }
  void await(std::function<void()> on_input) override {
    Input& input = callbacks_[used_callbacks_++];
    input.on_input = std::move(on_input);
    input.poke();
  }
  Task<> read() override {
    Input& input = tasks_[used_tasks_++];
    const Buf byte = co_await WaitThenPoke(input.stream.read(), input);
  }
  void reset() override {
    used_callbacks_ = used_tasks_ = 0;
    for (Input& input : callbacks_) {
      if (input.far < 0 || !input.stream.is_open()) input.open(loop_).start(input);
    }
    for (Input& input : tasks_) {
      if (input.far < 0) input.open(loop_);
    }
  }
  /// Each task's stream has read once, so that its backend waits for bytes from then on, as for those with a handler.
  void prime() {
    for (Input& input : tasks_) loop_.spawn(read_once(input), "prime");
    while (primed_ < kCount) loop_.run(RunMode::no_wait);
  }

 private:
  struct Input final : StreamHandler {
    Stream stream;
    int far = -1;
    std::function<void()> on_input;

    Stream& open(Loop& loop) {
      close();
      int ends[2];
      WEIR_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
      far = ends[1];
      return stream = adopt_stream(loop, ends[0]).value();
    }
    void close() {
      if (far >= 0) ::close(far);
      far = -1;
      stream = {};
    }
    void poke() const { WEIR_CHECK(::write(far, "x", 1) == 1); }
    void on_read(Buf) override { on_input(); }
    void on_close(const Error&) override {}
  };
  /// The byte is written once the task waits for it: it is never there at once.
  struct WaitThenPoke : Stream::ReadOp {
    WaitThenPoke(Stream::ReadOp&& read, const Input& from)
        : Stream::ReadOp(std::move(read)), input(&from) {}
    template <typename Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) {
      WEIR_CHECK(Stream::ReadOp::await_suspend(handle));
      input->poke();
      return true;
    }
    const Input* input;
  };

  Task<> read_once(Input& input) {
    const Buf byte = co_await WaitThenPoke(input.stream.read(), input);
    ++primed_;
  }

  Loop& loop_;
  std::array<Input, kCount> callbacks_, tasks_;
  std::size_t primed_ = 0;
  std::size_t used_callbacks_ = 0;
  std::size_t used_tasks_ = 0;
};

}  // namespace weir::test
