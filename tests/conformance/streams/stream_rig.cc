// A turn ends at the latest after a millisecond, by a timer, so that a row can look at its plain sockets.
#include "tests/conformance/streams/stream_rig.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace weir::test {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

Limits limits_for(const StreamRigOptions& options) {
  Limits limits;
  limits.block_bytes = options.block_bytes;
  limits.group_bytes = options.block_bytes * options.blocks;
  limits.overflow_bytes = options.block_bytes * options.overflow_blocks;
  limits.loan_bytes_max = options.block_bytes * options.loan_blocks;
  limits.connections_max = options.connections_max;
  limits.accepts_per_turn = options.accepts_per_turn;
  limits.copy_break_bytes = std::min(limits.copy_break_bytes, options.block_bytes);
  return limits;
}

}  // namespace

void Recorder::on_read(Buf got) {
  if (rig_.is_inside_call()) rig_.fail("on_read inside a call");
  if (close_count + end_count != 0) rig_.fail("on_read after the end");
  bytes.append(got.text());
  if (holds_blocks) held.push_back(std::move(got));
  if (when_read) when_read();
}

void Recorder::on_end() {
  if (rig_.is_inside_call()) rig_.fail("on_end inside a call");
  if (close_count != 0) rig_.fail("on_end after on_close");
  if (++end_count > 1) rig_.fail("on_end twice");
  if (when_ended) when_ended();
}

void Recorder::on_writable() {
  if (rig_.is_inside_call()) rig_.fail("on_writable inside a call");
  if (close_count != 0) rig_.fail("on_writable after on_close");
  ++writable_count;
  if (when_writable) when_writable();
}

void Recorder::on_close(const Error& error) {
  if (rig_.is_inside_call()) rig_.fail("on_close inside a call");
  if (++close_count > 1) rig_.fail("on_close twice");
  close_error = error;
}

StreamRig::StreamRig(std::string_view backend, const StreamRigOptions& options)
    : options_(options), descriptors_before_(open_descriptor_count()) {
  LoopOptions loop_options;
  loop_options.backend = backend;
  loop_options.ledger = LedgerLevel::all;
  loop_options.limits = limits_for(options);
  Result<std::unique_ptr<Loop>> made = Loop::make(loop_options);
  if (!made.ok()) {
    skip(std::string(backend) + ": " + made.error().to_string());
    return;
  }
  loop_ = std::move(made).value();
  tick_ = std::make_unique<Timer>(*loop_);
}

StreamRig::~StreamRig() { finish(); }

Stream StreamRig::connected(Peer& peer) {
  PeerListener listener;
  PeerListener::Pair pair = listener.connected_pair();
  peer = std::move(pair.far);
  Result<Stream> stream = adopt_stream(*loop_, pair.near.get());
  if (!stream.ok()) {
    fail("adopt_stream: " + stream.error().to_string());
    return {};
  }
  static_cast<void>(pair.near.release());
  return std::move(stream).value();
}

Recorder& StreamRig::record(Stream stream) {
  return *recorders_.emplace_back(std::make_unique<Recorder>(*this, std::move(stream)));
}

Recorder& StreamRig::reader(Peer& peer) {
  Recorder& recorder = record(connected(peer));
  call([&] { recorder.start(); });
  return recorder;
}

Listener StreamRig::listen(const ListenOptions& options) {
  Result<Listener> listener = Listener::listen(*loop_, loopback(Family::ipv4, 0), options);
  if (!listener.ok()) {
    fail("listen: " + listener.error().to_string());
    return {};
  }
  return std::move(listener).value();
}

Buf StreamRig::bytes(std::size_t offset, std::size_t count) {
  Buf buf = loop_->allocate(count);
  std::memcpy(buf.writable(), pattern(offset, count).data(), count);
  buf.trim_back(buf.size() - count);
  return buf;
}

void StreamRig::call(const std::function<void()>& calls) {
  const bool was_inside = std::exchange(is_inside_call_, true);
  calls();
  is_inside_call_ = was_inside;
}

// Armed again when it fires: a turn that fires it before it waits must not wait without it.
void StreamRig::arm_tick() {
  tick_->arm(milliseconds(1), Job([this] { arm_tick(); }));
}

void StreamRig::step() {
  arm_tick();
  loop_->run(RunMode::once);
  tick_->cancel();
}

bool StreamRig::run_until(std::string_view what, const std::function<bool()>& is_true) {
  const auto give_up = Clock::now() + options_.patience;
  while (!has_failed() && !is_true()) {
    if (Clock::now() > give_up) {
      fail("not within " + std::to_string(options_.patience.count()) + " ms: " + std::string(what));
    } else {
      step();
    }
  }
  return !has_failed();
}

void StreamRig::settle() {
  for (int i = 0; i < 3; ++i) step();
}

void StreamRig::finish() {
  if (std::exchange(is_finished_, true)) return;
  if (loop_ != nullptr) {
    recorders_.clear();
    loop_->scope().cancel();
    if (!has_failed()) {
      run_until("every connection closes", [&] { return loop_->metrics().connections == 0; });
      run_until("every block comes home", [&] {
        for (const Ledger::Entry& entry : loop_->ledger().entries()) {
          if (entry.state != BlockState::posted) return false;
        }
        return true;
      });
      if (has_failed()) fail(loop_->report());
    }
    tick_.reset();
    loop_.reset();
  }
  if (reason().empty())
    demand_eq(open_descriptor_count(), descriptors_before_, "descriptors", __FILE__, __LINE__);
}

std::vector<StreamRow> all_stream_rows() {
  std::vector<StreamRow> rows;
  for (const auto& part : {reading_rows(), writing_rows(), ending_rows(), waiting_rows(),
                           listening_rows(), neighbour_rows()}) {
    rows.insert(rows.end(), part.begin(), part.end());
  }
  return rows;
}

}  // namespace weir::test
