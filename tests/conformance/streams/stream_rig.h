// The second driver of the contract: a whole loop with streams, stepped turn by turn. What the seam promises must reach
// the owner of a stream as it is promised there; the rig checks at every step that nobody is called back inside a call, and
// at the end that no block, descriptor or connection is left.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/rig/judge.h"
#include "tests/rig/peer.h"
#include "weir/listener.h"
#include "weir/loop.h"
#include "weir/scope.h"
#include "weir/stream.h"

namespace weir::test {

class StreamRig;

/// Owns a stream and writes down what it is told.
class Recorder final : public StreamHandler {
 public:
  Recorder(StreamRig& rig, Stream the_stream) : stream(std::move(the_stream)), rig_(rig) {}

  Stream stream;
  std::string bytes;
  bool holds_blocks = false;
  std::vector<Buf> held;
  std::size_t end_count = 0;
  std::size_t writable_count = 0;
  std::size_t close_count = 0;
  Error close_error;
  std::function<void()> when_read;  ///< after the bytes were taken; each may destroy the stream
  std::function<void()> when_ended;
  std::function<void()> when_writable;

  void start() { stream.start(*this); }

 private:
  void on_read(Buf got) override;
  void on_end() override;
  void on_writable() override;
  void on_close(const Error& error) override;
  StreamRig& rig_;
};

struct StreamRigOptions {
  std::uint32_t block_bytes = 4096;
  std::uint32_t blocks = 256;
  std::uint32_t overflow_blocks = 0;
  std::uint32_t loan_blocks = 64;  ///< of one connection
  std::uint32_t connections_max = 1024;
  std::uint32_t accepts_per_turn = 32;
  std::chrono::milliseconds patience{30'000};
};

class StreamRig : public Judge {
 public:
  explicit StreamRig(std::string_view backend, const StreamRigOptions& options = {});
  ~StreamRig();

  bool is_available() const { return loop_ != nullptr && reason().empty(); }
  Loop& loop() { return *loop_; }
  const StreamRigOptions& options() const { return options_; }
  const Metrics& metrics() { return loop_->metrics(); }

  /// A connected stream, `peer` its far end.
  Stream connected(Peer& peer);
  Recorder& record(Stream stream);
  /// A recorder that was started.
  Recorder& reader(Peer& peer);
  Listener listen(const ListenOptions& options = {});
  /// `count` bytes of the pattern from `offset`, in the loop's memory.
  Buf bytes(std::size_t offset, std::size_t count);

  /// Makes calls of the API in which nobody may be called back.
  void call(const std::function<void()>& calls);
  bool is_inside_call() const { return is_inside_call_; }

  void step();
  bool run_until(std::string_view what, const std::function<bool()>& is_true);
  /// A few turns in which nothing more may come.
  void settle();

  /// Everything closes, the loop ends, and nothing is left. Once, at the end of a row.
  void finish();

 private:
  void arm_tick();

  StreamRigOptions options_;
  std::size_t descriptors_before_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Timer> tick_;
  std::vector<std::unique_ptr<Recorder>> recorders_;
  bool is_inside_call_ = false;
  bool is_finished_ = false;
};

/// One behaviour of streams that every backend must show.
struct StreamRow {
  std::string_view name;
  int sentence = 0;
  void (*check)(StreamRig& rig) = nullptr;
  StreamRigOptions options = {};
};
inline std::ostream& operator<<(std::ostream& out, const StreamRow& row) { return out << row.name; }

std::span<const StreamRow> reading_rows();
std::span<const StreamRow> writing_rows();
std::span<const StreamRow> ending_rows();
std::span<const StreamRow> waiting_rows();
std::span<const StreamRow> listening_rows();
std::span<const StreamRow> neighbour_rows();
std::vector<StreamRow> all_stream_rows();

}  // namespace weir::test
