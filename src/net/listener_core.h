// Accepting: one multishot op, a short queue of streams that nobody asked for yet, and what to do when connections or
// descriptors run out.
#pragma once
#include "src/loop/loop_core.h"
#include "weir/listener.h"

namespace weir::inline v0 {

class SocketCore;

struct ListenerAccept : AcceptOp {};

class ListenerCore final : public LoopClient, private ListenerAccept {
 public:
  ListenerCore(LoopCore& loop_core, Handle handle, const ListenOptions& options);
  ~ListenerCore();

  bool begin_accept(Listener::Accept& waiter);
  void abandon_accept(Listener::Accept& waiter);
  void start(ListenerHandler& handler);
  void pause();
  void resume();
  void release();  ///< the Listener is gone
  void set_ref(bool is_ref);
  Address local_address() const;
  LoopCore& loop() const { return loop_; }
  void go_on();  ///< there is room again

  void after_callback() override {}
  void close_notification() override;
  ListenerCore* next_waiting = nullptr;

 private:
  bool wants_more() const;
  bool is_near_limit() const;
  void arm();
  void on_completion(const Completion& completion);
  void on_accepted(Handle handle);
  void on_failed(std::int32_t result);
  void on_descriptors_exhausted();
  void rest();
  void give(Stream stream);
  void fail(std::int32_t result);
  void wait_for_room();
  void stop_waiting();
  void end_wait();
  void note_waiting(bool is_waiting);
  void close_when_idle();
  AcceptOp& op() { return *this; }
  const AcceptOp& op() const { return *this; }

  LoopCore& loop_;
  ListenOptions options_;
  Listener::Accept* waiter_ = nullptr;
  ListenerHandler* handler_ = nullptr;
  CountedVector<Stream> queue_;  // accepted ahead of demand; oldest first
  std::int64_t reserve_ = -1;    // a descriptor to give up when there is no other
  OpDeadline* retry_ = nullptr;
  std::int32_t failed_ = 0;  // accepting ended with this
  bool is_paused_ = false;
  bool is_shedding_ = false;  // the next stream gets the reserve, and is reset
  bool is_waiting_for_room_ = false;
  bool is_closing_ = false;
  bool is_ref_ = true;
};

}  // namespace weir::inline v0
