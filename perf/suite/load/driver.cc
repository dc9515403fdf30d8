// The phases of a run, and when each request leaves. One reading of the clock serves a whole callback.
#include "perf/suite/load/driver.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>

namespace load {

namespace {

constexpr std::uint64_t kSliceBytesMax = 256 << 10;
constexpr std::uint32_t kConnectsAtOnce = 128;  // below a usual listen queue
constexpr weir::Duration kProgressEvery = std::chrono::milliseconds(500);

std::uint64_t clock_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}
std::uint64_t cpu_ns() {
  return static_cast<std::uint64_t>(std::clock()) * (1'000'000'000 / CLOCKS_PER_SEC);
}

}  // namespace

Driver::Driver(weir::Loop& loop, const Options& options, Tally& tally)
    : loop_(loop),
      options_(options),
      tally_(tally),
      payload_(std::min(kSliceBytesMax,
                        std::max<std::uint64_t>(1, options.size_bytes) * options.pipeline)),
      phase_timer_(loop),
      due_timer_(loop),
      progress_timer_(loop) {
  if (options.protocol == Protocol::http) http_.emplace(options, payload_);
  if (options.requests_max != 0) left_to_send_ = options.requests_max;
  if (is_open_loop()) interval_ns_ = 1e9 / static_cast<double>(options.rate);
  connections_.resize(options.connections);
}

void Driver::run() {
  start_ns_ = clock_ns();
  loop_.spawn(connect_all(), "connect all");
  loop_.spawn(stop_on_signal(), "signals");
  show_progress();
  loop_.run();
  if (options_.shows_progress) std::fputs("\n", stderr);
}

// ---- Connecting.

std::unique_ptr<Connection> Driver::make_connection(std::size_t number) {
  if (http_) return make_http_connection(*this, tally_, number, *http_);
  return std::make_unique<EchoConnection>(*this, tally_, number, payload_, options_.size_bytes);
}

weir::Task<> Driver::connect(std::size_t number) {
  weir::ConnectOptions how;
  how.timeout = options_.timeout;
  if (options_.source_count > 1) {
    how.bind = weir::Address::ipv4(
        127, 0, 0, static_cast<std::uint8_t>(1 + number % options_.source_count), 0);
  }
  weir::Result<weir::Stream> stream = co_await weir::result(weir::connect(options_.server, how));
  if (!stream.ok()) {
    tally_.add(Fault::connect, 1, stream.error().to_string());
    co_return;
  }
  connections_[number] = make_connection(number);
  ++up_count_;
  ++tally_.connected;
  connections_[number]->start(std::move(stream).value());
}

weir::Task<> Driver::connect_all() {
  weir::Scope scope({.max_count = kConnectsAtOnce});
  for (std::size_t number = 0; number < connections_.size() && phase_ == Phase::connecting;
       ++number) {
    co_await scope.has_room();
    scope.spawn(connect(number), "connect");
  }
  co_await scope.join();
  begin();
}

weir::Task<> Driver::stop_on_signal() {
  weir::Signals signals(loop_, {weir::Signal::interrupt, weir::Signal::terminate});
  signals.unref();
  co_await signals.next();
  if (phase_ == Phase::connecting) phase_ = Phase::closing;
  if (phase_ == Phase::warming) begin_measuring();
  if (phase_ == Phase::measuring) end_measuring();
  co_await signals.next();
  give_up();
}

// ---- Phases.

void Driver::begin() {
  tally_.connect_ns = clock_ns() - start_ns_;
  tally_.cpu_ns = cpu_ns();
  if (phase_ == Phase::closing || up_count_ == 0) return begin_closing();
  phase_ = Phase::warming;
  const std::uint64_t now_ns = clock_ns();
  if (options_.warmup.count() == 0) {
    begin_measuring();
  } else {
    phase_timer_.arm(options_.warmup, [this] { begin_measuring(); });
  }
  if (is_open_loop()) {
    open_start_ns_ = now_ns;
    return send_due();
  }
  for (const auto& connection : connections_) {
    if (connection == nullptr || !connection->is_up()) continue;
    connection->sent_at_ns.resize(options_.pipeline);
    send_now(*connection, options_.pipeline, now_ns);
  }
}

void Driver::begin_measuring() {
  phase_ = Phase::measuring;
  measure_start_ns_ = clock_ns();
  if (options_.requests_max == 0) {
    phase_timer_.arm(options_.duration, [this] { end_measuring(); });
  }
}

void Driver::end_measuring() {
  const std::uint64_t now_ns = clock_ns();
  tally_.span_ns = now_ns - measure_start_ns_;
  phase_ = Phase::draining;
  due_timer_.cancel();
  tally_.least_answers = ~std::uint64_t{0};
  for (const auto& connection : connections_) {
    const std::uint64_t answers = connection == nullptr ? 0 : connection->answered();
    tally_.least_answers = std::min(tally_.least_answers, answers);
    tally_.most_answers = std::max(tally_.most_answers, answers);
  }
  if (is_open_loop()) count_late(now_ns);
  phase_timer_.arm(options_.timeout, [this] { give_up(); });
  if (under_way_ == 0) begin_closing();
}

// What was due and could not even be sent has waited at least until now: left out, it would make a server look fast.
void Driver::count_late(std::uint64_t now_ns) {
  for (const auto& connection : connections_) {
    if (connection == nullptr) continue;
    const std::uint64_t due = due_count(*connection);
    for (std::uint64_t request = connection->sent(); request < due; ++request) {
      tally_.latency.record(now_ns - due_ns(*connection, request));
      ++tally_.late;
    }
  }
}

void Driver::begin_closing() {
  phase_ = Phase::closing;
  tally_.cpu_ns = cpu_ns() - tally_.cpu_ns;
  for (const auto& connection : connections_) {
    if (connection != nullptr && connection->is_up()) connection->finish();
  }
  phase_timer_.arm(options_.timeout, [this] { give_up(); });
  if (up_count_ == 0) loop_.stop();
}

void Driver::give_up() {
  for (const auto& connection : connections_) {
    if (connection == nullptr || !connection->is_up()) continue;
    const std::uint64_t missing = connection->under_way();
    tally_.add(
        Fault::unanswered, std::max<std::uint64_t>(1, missing),
        "connection " + std::to_string(connection->number()) +
            (missing != 0 ? ": answers still missing at the end" : ": not closed by the server"));
    connection->abort();
  }
  if (up_count_ == 0) loop_.stop();
}

void Driver::show_progress() {
  if (!options_.shows_progress) return;
  const std::uint64_t fresh = tally_.requests_total - shown_requests_;
  shown_requests_ = tally_.requests_total;
  std::fprintf(stderr, "\r%6.1f s  %5llu connections  %10.0f requests/s  %llu faults ",
               static_cast<double>(clock_ns() - start_ns_) / 1e9,
               static_cast<unsigned long long>(up_count_),
               static_cast<double>(fresh) * 1e9 / static_cast<double>(kProgressEvery.count()),
               static_cast<unsigned long long>(tally_.fault_count()));
  progress_timer_.unref();
  progress_timer_.arm(kProgressEvery, [this] { show_progress(); });
}

// ---- Answers.

void Driver::on_answers(Connection& connection, std::uint64_t count) {
  const std::uint64_t now_ns = clock_ns();
  under_way_ -= count;
  tally_.requests_total += count;
  if (phase_ == Phase::measuring || (phase_ == Phase::draining && is_open_loop())) {
    const std::uint64_t first = connection.answered() - count;
    for (std::uint64_t request = first; request < first + count; ++request) {
      const std::uint64_t from_ns = is_open_loop()
                                        ? due_ns(connection, request)
                                        : connection.sent_at_ns[request % options_.pipeline];
      tally_.latency.record(now_ns - from_ns);
    }
    tally_.requests += count;
  }
  if (phase_ == Phase::warming || phase_ == Phase::measuring) {
    if (is_open_loop()) {
      send_what_is_due(connection);
    } else {
      send_now(connection, count, now_ns);
    }
    if (left_to_send_ == 0 && under_way_ == 0) end_measuring();
  } else if (phase_ == Phase::draining && under_way_ == 0) {
    begin_closing();
  }
}

void Driver::on_gone(Connection& connection) {
  under_way_ -= connection.under_way();
  --up_count_;
  if (phase_ == Phase::closing) {
    if (up_count_ == 0) loop_.stop();
  } else if (phase_ == Phase::draining) {
    if (under_way_ == 0) begin_closing();
  } else if (up_count_ == 0 && phase_ != Phase::connecting) {
    if (phase_ == Phase::warming) begin_measuring();
    end_measuring();
  }
}

// ---- Sending.

void Driver::send_now(Connection& connection, std::uint64_t count, std::uint64_t now_ns) {
  count = std::min(count, left_to_send_);
  if (count == 0) return;
  for (std::uint64_t i = 0; i < count; ++i) {
    connection.sent_at_ns[(connection.sent() + i) % options_.pipeline] = now_ns;
  }
  if (options_.requests_max != 0) left_to_send_ -= count;
  under_way_ += count;
  connection.send(count);
}

std::uint64_t Driver::due_count(const Connection& connection) const {
  const std::uint64_t number = connection.number();
  return due_total_ <= number ? 0 : (due_total_ - number - 1) / connections_.size() + 1;
}

std::uint64_t Driver::due_ns(const Connection& connection, std::uint64_t request) const {
  const std::uint64_t overall = request * connections_.size() + connection.number();
  return open_start_ns_ + static_cast<std::uint64_t>(static_cast<double>(overall) * interval_ns_);
}

void Driver::send_what_is_due(Connection& connection) {
  if (!connection.is_up()) return;
  const std::uint64_t due = due_count(connection) - connection.sent();
  const std::uint64_t count = std::min(due, options_.pipeline - connection.under_way());
  if (count == 0) return;
  under_way_ += count;
  connection.send(count);
}

// Sends what became due since the last time, and sleeps until the next is.
void Driver::send_due() {
  const auto passed_ns = static_cast<double>(clock_ns() - open_start_ns_);
  const auto due = static_cast<std::uint64_t>(passed_ns / interval_ns_) + 1;
  const std::uint64_t until =
      options_.requests_max == 0 ? due : std::min(due, options_.requests_max);
  const std::uint64_t from = std::exchange(due_total_, until);
  // When more than one is due on each connection, one visit of each sends them all.
  const std::uint64_t visits = std::min<std::uint64_t>(until - from, connections_.size());
  for (std::uint64_t i = 0; i < visits; ++i) {
    Connection* const connection = connections_[(from + i) % connections_.size()].get();
    if (connection != nullptr) send_what_is_due(*connection);
  }
  if (until == options_.requests_max && options_.requests_max != 0) {
    left_to_send_ = 0;
    if (under_way_ == 0) end_measuring();
    return;
  }
  const double next_ns = static_cast<double>(due_total_) * interval_ns_ - passed_ns;
  due_timer_.arm(weir::Duration(static_cast<std::int64_t>(std::max(0.0, next_ns))),
                 [this] { send_due(); });
}

}  // namespace load
