// Listener: a bound socket that gives streams, to a task or to a handler. It accepts at most Limits::accepts_per_turn a
// turn, stops at Limits::connections_max, and answers exhausted descriptors with a reserve it keeps for that. Without
// descriptors or memory it rests and tries again; a connection that died in the queue is passed over.
//
//     auto listener = weir::Listener::listen(*loop, weir::Address::parse("127.0.0.1:0").value()).value();
//     for (;;) sessions.spawn(echo(co_await listener.accept()), "echo");
#pragma once
#include <cstdint>
#include <utility>

#include "weir/address.h"
#include "weir/loop.h"
#include "weir/stream.h"
#include "weir/task.h"

namespace weir::inline v0 {

class ListenerCore;

/// What happens to a connection beyond a bound.
enum class Overload : std::uint8_t {
  wait,   ///< it stays in the kernel's queue until there is room
  reset,  ///< it is accepted and reset at once, so that its client knows
};

struct ListenOptions {
  bool reuse_port = false;  ///< several loops on one port, each with its own queue
  bool ipv6_only = false;   ///< false: [::] takes IPv4 too
  bool no_delay = true;     ///< of accepted streams
  bool keep_alive = false;
  std::int32_t backlog = 1024;
  std::int32_t send_buffer_bytes = 0;
  std::int32_t receive_buffer_bytes = 0;
  Overload at_connection_limit = Overload::wait;
  Overload at_descriptor_limit = Overload::reset;
};

class ListenerHandler {
 public:
  virtual void on_accept(Stream stream) = 0;      ///< one that throws loses that stream only
  virtual void on_error(const Error& error) = 0;  ///< accepting has ended

 protected:
  ~ListenerHandler() = default;
};

/// Owner:   whoever made it; destroying it closes the socket, and streams that nobody took are reset. Destroy it before
///          its Loop.
/// Threads: the loop's own.
class WEIR_API Listener {
 public:
  /// `co_await listener.accept()`: the next stream. One may wait at a time; a second aborts.
  class [[nodiscard]] Accept : public Waiter {
   public:
    explicit Accept(ListenerCore* core) : core_(core) {}
    Accept(Accept&& other) noexcept : Waiter(std::move(other)), core_(other.core_) {}
    ~Accept() {
      if (is_waiting()) abandon();
    }
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) {
      wait_in(handle.promise());
      return suspend();
    }
    Stream await_resume() { return std::move(stream_); }

   private:
    friend class ListenerCore;
    WEIR_API bool suspend();
    WEIR_API void abandon();
    ListenerCore* core_;
    Stream stream_;
  };

  /// Errors: address_in_use, access_denied, address_not_available, … with the address in the text.
  static Result<Listener> listen(Loop& loop, const Address& address,
                                 const ListenOptions& options = {});

  Listener() = default;
  Listener(Listener&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
  Listener& operator=(Listener&& other) noexcept {
    if (this != &other) {
      close();
      core_ = std::exchange(other.core_, nullptr);
    }
    return *this;
  }
  ~Listener() { close(); }
  bool valid() const { return core_ != nullptr; }

  Accept accept() { return Accept(core_); }  ///< Errors: closed; what ended accepting
  void start(ListenerHandler& handler);      ///< streams flow to on_accept from now on
  void pause();                              ///< what the kernel gave already is still delivered
  void resume();
  void close();
  Address local_address() const;
  void unref();  ///< accepting does not keep the loop alive
  void ref();

 private:
  explicit Listener(ListenerCore* core) : core_(core) {}
  ListenerCore* core_ = nullptr;
};

}  // namespace weir::inline v0
