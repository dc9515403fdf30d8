// The echo server without tasks: an object a connection, called when something happened on its stream.
#pragma once
#include "weir/weir.h"

namespace example {

/// Owns itself: it goes when its stream has closed.
class EchoConnection final : public weir::StreamHandler {
 public:
  explicit EchoConnection(weir::Stream stream) : stream_(std::move(stream)) {
    stream_.start(*this);
  }

 private:
  // A pressured write was taken: the peer reads slowly, so no more is read from it until the queue is short again.
  void on_read(weir::Buf bytes) override {
    if (stream_.try_write(bytes) == weir::Write::pressured) stream_.pause();
  }
  void on_writable() override { stream_.resume(); }
  void on_end() override {
    stream_.end_writing();
  }  // FIN behind what is queued; then the stream closes itself
  void on_close(const weir::Error&) override { delete this; }

  weir::Stream stream_;
};

/// One a loop, as long as the loop.
class EchoAcceptor final : public weir::ListenerHandler {
  void on_accept(weir::Stream stream) override { new EchoConnection(std::move(stream)); }
  void on_error(const weir::Error& error) override {
    std::fprintf(stderr, "accepting ended: %s\n", error.to_string().c_str());
  }
};

inline void start_echo_handlers(weir::Loop&, weir::Listener& listener) {
  static EchoAcceptor acceptor;  // keeps nothing, so all loops share it
  listener.start(acceptor);
}

}  // namespace example
