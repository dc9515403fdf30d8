// One connection under load: it sends as many requests as its driver allows, compares what comes back, and tells how many
// answers that were. What a request looks like is the protocol's business, in the classes below.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "perf/suite/load/options.h"
#include "perf/suite/load/payload.h"
#include "perf/suite/load/tally.h"
#include "weir/stream.h"

namespace load {

class Connection;

/// Who decides what is sent when, and counts.
class Director {
 public:
  virtual void on_answers(Connection& connection, std::uint64_t count) = 0;
  virtual void on_gone(Connection& connection) = 0;  ///< it is closed

 protected:
  ~Director() = default;
};

class Connection : public weir::StreamHandler {
 public:
  Connection(Director& director, Tally& tally, std::size_t number)
      : number_(number), tally_(tally), director_(director) {}
  virtual ~Connection() = default;

  void start(weir::Stream stream);
  /// Queues `count` requests. The driver sees to it that no more than its pipeline are under way.
  void send(std::uint64_t count);
  void finish();  ///< FIN; the server's answers to what it got, and its FIN, are then awaited
  void abort();

  bool is_up() const { return is_up_; }
  std::size_t number() const { return number_; }
  std::uint64_t sent() const { return sent_; }
  std::uint64_t answered() const { return answered_; }
  std::uint64_t under_way() const { return sent_ - answered_; }

  std::vector<std::uint64_t> sent_at_ns;  ///< closed loop: a ring with room for the pipeline

 protected:
  static constexpr std::int64_t kFailed = -1;
  virtual void append_requests(std::uint64_t count, weir::BufChain& to) = 0;
  /// Compares; how many answers are complete now, or kFailed after fail().
  virtual std::int64_t take(std::string_view bytes) = 0;

  std::int64_t fail(Fault fault, const std::string& words);
  const std::size_t number_;

 private:
  void on_read(weir::Buf bytes) override;
  void on_end() override;
  void on_close(const weir::Error& error) override;

  Tally& tally_;
  Director& director_;
  weir::Stream stream_;
  std::uint64_t sent_ = 0;
  std::uint64_t answered_ = 0;
  bool is_up_ = false;
  bool is_finishing_ = false;
};

/// The server sends back what it got.
class EchoConnection final : public Connection {
 public:
  EchoConnection(Director& director, Tally& tally, std::size_t number, const Payload& payload,
                 std::size_t size_bytes);

 private:
  void append_requests(std::uint64_t count, weir::BufChain& to) override;
  std::int64_t take(std::string_view bytes) override;

  const Payload& payload_;
  const std::size_t size_bytes_;
  std::size_t write_position_;
  std::size_t read_position_;
  std::uint64_t sent_bytes_ = 0;
  std::uint64_t received_bytes_ = 0;
  std::size_t partial_bytes_ = 0;  // of an answer that is not complete
};

}  // namespace load
