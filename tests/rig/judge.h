// What a row demanded and did not get. A row runs to its first unmet demand; the text of it is the verdict.
#pragma once
#include <cstddef>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

namespace weir::test {

class Judge {
 public:
  void fail(std::string text);
  bool has_failed() const { return failure_count_ > 0; }
  /// Empty, or the first failures, a line each.
  std::string verdict() const;

  /// The row cannot be run here; the reason is shown.
  void skip(std::string reason) { skip_ = std::move(reason); }
  const std::string& reason() const { return skip_; }

  bool demand(bool holds, std::string_view what, const char* file, int line);
  template <typename A, typename B>
  bool demand_eq(const A& left, const B& right, std::string_view what, const char* file, int line) {
    if (left == right) return true;
    std::ostringstream text;
    text << what << ": " << left << " against " << right;
    return demand(false, text.str(), file, line);
  }

 private:
  std::string skip_;
  std::string failures_;
  std::size_t failure_count_ = 0;
};

/// What a row asks for. The first that does not hold ends the row with its text.
#define DEMAND(rig, condition)                                                               \
  do {                                                                                       \
    if (!(rig).demand(static_cast<bool>(condition), #condition, __FILE__, __LINE__)) return; \
  } while (false)
#define DEMAND_EQ(rig, left, right)                                                         \
  do {                                                                                      \
    if (!(rig).demand_eq((left), (right), #left " == " #right, __FILE__, __LINE__)) return; \
  } while (false)
/// Steps until it holds; ends the row when it does not come to hold.
#define AWAIT(rig, condition)                                                               \
  do {                                                                                      \
    if (!(rig).run_until(#condition, [&] { return static_cast<bool>(condition); })) return; \
  } while (false)

}  // namespace weir::test
