// A whole run: connect, warm up, measure, wait for what is under way, close.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "perf/suite/load/connection.h"
#include "perf/suite/load/http_connection.h"
#include "weir/weir.h"

namespace load {

class Driver final : public Director {
 public:
  Driver(weir::Loop& loop, const Options& options, Tally& tally);
  void run();  ///< until everything is closed

 private:
  enum class Phase : std::uint8_t { connecting, warming, measuring, draining, closing };

  weir::Task<> connect_all();
  weir::Task<> connect(std::size_t number);
  weir::Task<> stop_on_signal();
  std::unique_ptr<Connection> make_connection(std::size_t number);

  void begin();
  void begin_measuring();
  void end_measuring();
  void begin_closing();
  void give_up();
  void show_progress();

  void on_answers(Connection& connection, std::uint64_t count) override;
  void on_gone(Connection& connection) override;

  // Closed loop.
  void send_now(Connection& connection, std::uint64_t count, std::uint64_t now_ns);
  // Open loop: request n of all is due at open_start_ns_ + n * interval, on connection n % connections.
  void send_due();
  void send_what_is_due(Connection& connection);
  std::uint64_t due_count(const Connection& connection) const;
  std::uint64_t due_ns(const Connection& connection, std::uint64_t request) const;
  void count_late(std::uint64_t now_ns);

  bool is_open_loop() const { return options_.rate != 0; }

  weir::Loop& loop_;
  const Options& options_;
  Tally& tally_;
  Payload payload_;
  std::optional<HttpWork> http_;
  std::vector<std::unique_ptr<Connection>> connections_;  // by number; null: it could not connect
  Phase phase_ = Phase::connecting;
  std::uint64_t up_count_ = 0;
  std::uint64_t under_way_ = 0;
  std::uint64_t left_to_send_ = ~std::uint64_t{0};
  std::uint64_t open_start_ns_ = 0;
  double interval_ns_ = 0;
  std::uint64_t due_total_ = 0;
  std::uint64_t start_ns_ = 0;          // of the run
  std::uint64_t measure_start_ns_ = 0;  // of what counts
  std::uint64_t shown_requests_ = 0;
  weir::Timer phase_timer_;
  weir::Timer due_timer_;
  weir::Timer progress_timer_;
};

}  // namespace load
