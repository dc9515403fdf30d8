// A backend around another one: forwards everything, and lets those who derive from it change what goes in and what
// comes out. Registered by name like any other ("chaos:7:epoll", "broken:lose-terminal:io_uring"), so it can stand wherever
// a backend's name can.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weir/backend.h"

namespace weir::test {

/// Takes what the inner backend pushes, before the loop's own sink sees it.
class CaptureSink final : public Sink {
 public:
  using Sink::Sink;
  void set_room(std::uint32_t room) { room_ = room; }
  /// Everything pushed since the last call, control first, in order; as if it had not been pushed yet.
  std::vector<Completion> take();

 private:
  void take(Queue& queue, std::vector<Completion>& out);
  void on_unowned(const Completion& completion) override { data_.push(completion); }
};

class Decorator : public Backend {
 public:
  Decorator(std::unique_ptr<Backend> inner, const BackendContext& context, std::string name);

  const Caps& caps() const override { return caps_; }
  Result<Handle> open(const SocketSpec& spec) override { return inner_->open(spec); }
  Result<Handle> attach(std::intptr_t native, bool owned) override {
    return inner_->attach(native, owned);
  }
  std::intptr_t detach(Handle handle) override { return inner_->detach(handle); }
  std::intptr_t native(Handle handle) const override { return inner_->native(handle); }
  Result<Address> local_address(Handle handle) const override {
    return inner_->local_address(handle);
  }
  Result<Address> peer_address(Handle handle) const override {
    return inner_->peer_address(handle);
  }
  Result<void> set_option(Handle handle, SocketOption option, std::int32_t value) override {
    return inner_->set_option(handle, option, value);
  }
  Result<std::int32_t> get_option(Handle handle, SocketOption option) const override {
    return inner_->get_option(handle, option);
  }
  Submitted submit(Op& op) override { return inner_->submit(op); }
  void cancel(OpId id) override { inner_->cancel(id); }
  void provide(Pool& group) override { inner_->provide(group); }
  void refilled(Pool& group) override { inner_->refilled(group); }
  void poll(std::uint64_t deadline_ns, Sink& sink) override;
  std::uint64_t next_deadline() const override { return inner_->next_deadline(); }
  void tick(std::uint64_t now_ns) override { inner_->tick(now_ns); }
  std::intptr_t wait_handle() const override { return inner_->wait_handle(); }
  std::uint64_t now() const override { return inner_->now(); }
  bool pending_hint() const override { return inner_->pending_hint(); }
  void wake() override { inner_->wake(); }

 protected:
  /// What one poll of the inner backend gave, to be passed on, changed or kept. Passes on by default.
  virtual void on_results(std::vector<Completion> results, Sink& sink);
  /// A poll of the inner backend alone.
  std::vector<Completion> poll_inner(std::uint64_t deadline_ns, std::uint32_t room);

  std::unique_ptr<Backend> inner_;
  BackendContext context_;
  Caps caps_;
  CaptureSink capture_;
};

/// A decorator whose variant is "<seed>:<inner>": parses it and makes the inner backend.
struct Seeded {
  std::uint64_t seed = 0;
  std::unique_ptr<Backend> inner;
};
Result<Seeded> make_seeded(std::string_view variant, const BackendContext& context);

/// "text:rest" in two; `rest` is empty without a colon.
std::pair<std::string_view, std::string_view> split_name(std::string_view name);

}  // namespace weir::test
