// The timer wheel against a sorted set, over every scale of time. The clock is a number that the test passes.
#include "src/loop/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace weir {
namespace {

struct NumberedNode : TimerNode {
  std::size_t number = 0;
  std::uint64_t sequence = 0;  // the model's: when it was armed last
};

using Random = std::mt19937_64;
std::uint64_t below(Random& random, std::uint64_t limit) { return random() % limit; }

// The wheel and the set that says what it should do.
class Pair {
 public:
  Pair(std::size_t timer_count, std::uint64_t delay_max_ns, std::uint64_t seed)
      : random_(seed), delay_max_ns_(delay_max_ns), nodes_(timer_count) {
    for (std::size_t i = 0; i < timer_count; ++i) nodes_[i].number = i;
  }
  ~Pair() {
    for (NumberedNode& node : nodes_) wheel_.cancel(node);
  }

  void arm_all() {
    for (NumberedNode& node : nodes_) arm(node, now_ns_ + delay_at_random());
  }

  void act_at_random() {
    NumberedNode& node = nodes_[below(random_, nodes_.size())];
    switch (below(random_, 8)) {
      case 0: cancel(node); break;
      case 1: arm(node, now_ns_ - std::min(now_ns_, below(random_, 100))); break;  // late
      case 2:
        arm(node, node.deadline_ns() + below(random_, delay_max_ns_));
        break;  // often an extension
      default: arm(node, now_ns_ + delay_at_random()); break;
    }
  }

  void advance_at_random() {
    const std::uint64_t next_ns = wheel_.next_deadline_ns();
    switch (below(random_, 4)) {
      case 0: break;  // a clock may stand still
      case 1: now_ns_ += below(random_, delay_max_ns_); break;
      case 2: now_ns_ += below(random_, 1 + delay_max_ns_ / 1000); break;
      default:
        if (next_ns != TimerWheel::kNever) now_ns_ = std::max(now_ns_, next_ns);
        break;
    }
  }

  // One expire(), each timer compared with the model's first, with random actions inside the callbacks.
  void expire(std::size_t budget, bool acts_inside) {
    const std::uint64_t fence = sequence_;
    std::size_t called_count = 0;
    const std::size_t ran_count = wheel_.expire(now_ns_, budget, [&](TimerNode& base) {
      auto& node = static_cast<NumberedNode&>(base);
      ++called_count;
      EXPECT_FALSE(node.is_armed());
      EXPECT_LE(node.deadline_ns(), now_ns_) << "early";
      const std::size_t expected = first_due(fence);
      EXPECT_EQ(node.number, expected) << "of " << nodes_.size() << " at " << now_ns_;
      armed_.erase(key(node));
      if (acts_inside && below(random_, 2) == 0) act_at_random();
    });
    EXPECT_EQ(ran_count, called_count);
    EXPECT_LE(ran_count, budget);
    if (ran_count < budget && first_due(fence) != kNone) {
      EXPECT_LE(wheel_.next_deadline_ns(), now_ns_)
          << "a due timer is left and the loop would sleep";
      ++short_calls_;
    }
    check();
  }

  void check() {
    EXPECT_EQ(wheel_.size(), armed_.size());
    if (armed_.empty()) {
      EXPECT_EQ(wheel_.next_deadline_ns(), TimerWheel::kNever);
    } else {
      EXPECT_LE(wheel_.next_deadline_ns(), armed_.begin()->deadline_ns);
    }
  }

  void drain() {
    while (!armed_.empty() && !::testing::Test::HasFailure()) {
      now_ns_ = std::max(now_ns_, wheel_.next_deadline_ns());
      expire(1000, false);
    }
  }

  Random& random() { return random_; }
  std::size_t short_calls() const { return short_calls_; }

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};
  struct Key {  // a tuple's comparison is a dozen calls where nothing is inlined
    std::uint64_t deadline_ns, sequence;
    std::size_t number;
    bool operator<(const Key& other) const {
      return deadline_ns != other.deadline_ns ? deadline_ns < other.deadline_ns
                                              : sequence < other.sequence;
    }
  };
  static Key key(const NumberedNode& node) {
    return {node.deadline_ns(), node.sequence, node.number};
  }
  std::uint64_t delay_at_random() {
    const std::uint64_t delay_ns = below(random_, delay_max_ns_);
    return below(random_, 4) == 0 ? delay_ns >> below(random_, 40) : delay_ns;
  }
  void arm(NumberedNode& node, std::uint64_t deadline_ns) {
    if (node.is_armed()) armed_.erase(key(node));
    wheel_.arm(node, deadline_ns);
    node.sequence = sequence_++;
    armed_.insert(key(node));
  }
  void cancel(NumberedNode& node) {
    const bool was_armed = node.is_armed();
    EXPECT_EQ(armed_.erase(key(node)), was_armed);
    EXPECT_EQ(wheel_.cancel(node), was_armed);
  }
  // What must run next: the first that is due and was armed before this call.
  std::size_t first_due(std::uint64_t fence) const {
    for (const auto& [deadline_ns, sequence, number] : armed_) {
      if (deadline_ns > now_ns_) break;
      if (sequence < fence) return number;
    }
    return kNone;
  }

  Random random_;
  std::uint64_t delay_max_ns_;
  std::uint64_t now_ns_ = 1'000'000'007;
  std::uint64_t sequence_ = 0;
  std::size_t short_calls_ = 0;
  TimerWheel wheel_;
  std::deque<NumberedNode> nodes_;
  std::set<Key> armed_;
};

struct Row {
  std::string name;
  std::size_t timer_count;
  std::uint64_t delay_max_ns;
  std::size_t budget_max;
  int steps;
  friend std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.name; }
};
const Row kRows[] = {
    {"OneNanosecond", 50, 1, 100, 2000},
    {"Nanoseconds", 200, 200, 100, 2000},
    {"Microseconds", 200, 50'000, 100, 2000},
    {"Seconds", 200, 5'000'000'000, 100, 2000},
    {"Days", 300, 200'000'000'000'000, 400, 2000},
    {"Centuries", 300, std::uint64_t{1} << 62, 400, 3},
    {"SmallBudget", 200, 1'000'000, 2, 2000},
    {"CrowdAtOnce", 12'000, 3, 1000, 30},
    {"CrowdInOneSlot", 20'000, 2'000'000'000, 1000, 30},
};
class TimerWheelProperty : public ::testing::TestWithParam<Row> {};

TEST_P(TimerWheelProperty, RunsWhatIsDueInOrder) {
  const Row& row = GetParam();
  for (std::uint64_t seed = 1; seed <= 10 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Pair pair(row.timer_count, row.delay_max_ns, seed);
    pair.arm_all();
    for (int step = 0; step < row.steps && !HasFailure(); ++step) {
      const std::size_t acts = below(pair.random(), 1 + row.timer_count / 10);
      for (std::size_t i = 0; i < acts; ++i) pair.act_at_random();
      pair.check();
      pair.advance_at_random();
      pair.expire(below(pair.random(), row.budget_max + 1), true);
    }
    pair.drain();
    if (row.timer_count < 1000) {
      EXPECT_EQ(pair.short_calls(), 0u);
    }
    if (row.name == "CrowdInOneSlot") {
      EXPECT_GT(pair.short_calls(), 0u);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Scales, TimerWheelProperty, ::testing::ValuesIn(kRows),
                         [](const auto& instance) { return instance.param.name; });

constexpr std::uint64_t kSecond = 1'000'000'000;

// Numbers of the timers that an expire() ran, in order.
std::vector<std::size_t> run(TimerWheel& wheel, std::uint64_t now_ns, std::size_t budget = 1000) {
  std::vector<std::size_t> numbers;
  wheel.expire(now_ns, budget, [&](TimerNode& node) {
    numbers.push_back(static_cast<NumberedNode&>(node).number);
  });
  return numbers;
}
using Numbers = std::vector<std::size_t>;

class TimerWheelTest : public ::testing::Test {
 protected:
  TimerWheelTest() {
    for (std::size_t i = 0; i < 4; ++i) nodes_[i].number = i;
  }
  TimerWheel wheel_;
  std::deque<NumberedNode> nodes_ = std::deque<NumberedNode>(4);
  ~TimerWheelTest() override {
    for (NumberedNode& node : nodes_) wheel_.cancel(node);
  }
};

TEST_F(TimerWheelTest, IsNeverEarly) {
  wheel_.arm(nodes_[0], 3600 * kSecond + 1);
  EXPECT_EQ(run(wheel_, 3600 * kSecond), Numbers{});
  EXPECT_EQ(run(wheel_, 3600 * kSecond + 1), Numbers{0});
}

TEST_F(TimerWheelTest, KeepsTheOrderOfArmingAmongEquals) {
  wheel_.arm(nodes_[2], kSecond);
  wheel_.arm(nodes_[0], kSecond);
  wheel_.arm(nodes_[1], kSecond);
  wheel_.arm(nodes_[0], kSecond);  // again, so it goes behind
  EXPECT_EQ(run(wheel_, kSecond), (Numbers{2, 1, 0}));
}

TEST_F(TimerWheelTest, AnEqualArmedLaterFromNearerComesLater) {
  wheel_.arm(nodes_[0], 10 * kSecond);
  wheel_.arm(nodes_[3], 9 * kSecond);
  EXPECT_EQ(run(wheel_, 9 * kSecond), Numbers{3});
  wheel_.arm(nodes_[1], 10 * kSecond);
  EXPECT_EQ(run(wheel_, 11 * kSecond), (Numbers{0, 1}));
}

TEST_F(TimerWheelTest, WhatIsOverBudgetComesFirstInTheNextCallUnlessSomethingEarlierWasArmed) {
  for (NumberedNode& node : nodes_) wheel_.arm(node, kSecond + node.number);
  EXPECT_EQ(run(wheel_, 2 * kSecond, 2), (Numbers{0, 1}));
  EXPECT_LE(wheel_.next_deadline_ns(), 2 * kSecond);
  wheel_.arm(nodes_[0], 2 * kSecond);
  wheel_.arm(nodes_[1], kSecond);
  EXPECT_EQ(run(wheel_, 2 * kSecond), (Numbers{1, 2, 3, 0}));
}

TEST_F(TimerWheelTest, WhatIsArmedDuringExpiryWaitsForTheNextCall) {
  wheel_.arm(nodes_[0], kSecond);
  wheel_.arm(nodes_[1], 2 * kSecond);
  Numbers ran;
  wheel_.expire(3 * kSecond, 1000, [&](TimerNode& node) {
    ran.push_back(static_cast<NumberedNode&>(node).number);
    wheel_.arm(nodes_[2], 0);            // long past
    wheel_.arm(nodes_[3], 3 * kSecond);  // due, in a slot that this call has not reached
    wheel_.arm(nodes_[0], kSecond);      // itself
  });
  EXPECT_EQ(ran, (Numbers{0, 1}));
  EXPECT_LE(wheel_.next_deadline_ns(), 3 * kSecond);
  EXPECT_EQ(run(wheel_, 3 * kSecond), (Numbers{2, 0, 3}));
}

TEST_F(TimerWheelTest, ATimerOfTheSameBatchCanBeCancelledExtendedOrArmedEarlier) {
  for (NumberedNode& node : nodes_) wheel_.arm(node, kSecond);
  Numbers ran;
  wheel_.expire(kSecond, 1000, [&](TimerNode& node) {
    ran.push_back(static_cast<NumberedNode&>(node).number);
    EXPECT_TRUE(wheel_.cancel(nodes_[1]));
    EXPECT_FALSE(wheel_.cancel(nodes_[1]));
    wheel_.arm(nodes_[2], 5 * kSecond);
    wheel_.arm(nodes_[3], 1);
  });
  EXPECT_EQ(ran, Numbers{0});
  EXPECT_EQ(run(wheel_, kSecond), Numbers{3});
  EXPECT_EQ(wheel_.next_deadline_ns(), 5 * kSecond);
}

TEST_F(TimerWheelTest, ACallbackMayDestroyItsNode) {
  auto node = std::make_unique<NumberedNode>();
  wheel_.arm(*node, kSecond);
  wheel_.arm(nodes_[0], kSecond);
  wheel_.expire(kSecond, 1000, [&](TimerNode& due) {
    if (&due == node.get()) node.reset();
  });
  EXPECT_EQ(node, nullptr);
  EXPECT_TRUE(wheel_.empty());
}

TEST_F(TimerWheelTest, NodesCallTheirFunction) {
  static int called_count;
  called_count = 0;
  nodes_[0].on_due = [](TimerNode&) { ++called_count; };
  wheel_.arm(nodes_[0], 1);
  EXPECT_EQ(wheel_.expire(1, 10), 1u);
  EXPECT_EQ(called_count, 1);
}

TEST_F(TimerWheelTest, TheLastNanosecondsOfTheClockCanBeReached) {
  wheel_.arm(nodes_[0], TimerWheel::kNever - 1);
  wheel_.arm(nodes_[1], TimerWheel::kNever);
  EXPECT_EQ(run(wheel_, TimerWheel::kNever - 2), Numbers{});
  EXPECT_EQ(run(wheel_, TimerWheel::kNever - 1), Numbers{0});
  EXPECT_EQ(wheel_.next_deadline_ns(), TimerWheel::kNever);
  EXPECT_EQ(run(wheel_, TimerWheel::kNever), Numbers{1});
}

// A loop that sleeps until next_deadline_ns(): how often it wakes for nothing.
TEST_F(TimerWheelTest, ADeadlineThatWasOnlyArmedIsExact) {
  wheel_.arm(nodes_[0], 3599 * kSecond + 12345);
  wheel_.arm(nodes_[1], 3599 * kSecond + 99);
  EXPECT_EQ(wheel_.next_deadline_ns(), 3599 * kSecond + 99);
  EXPECT_EQ(run(wheel_, wheel_.next_deadline_ns()), Numbers{1});
  EXPECT_EQ(wheel_.next_deadline_ns(), 3599 * kSecond + 12345);
}

TEST_F(TimerWheelTest, AnIdleTimeoutExtendedAThousandTimesWakesTheLoopOnce) {
  std::uint64_t now_ns = 0;
  wheel_.arm(nodes_[0], 30 * kSecond);
  for (int i = 0; i < 1000; ++i) wheel_.arm(nodes_[0], (now_ns += 10'000'000) + 30 * kSecond);
  int idle_wakes = 0;
  while (run(wheel_, now_ns = wheel_.next_deadline_ns()).empty()) ++idle_wakes;
  EXPECT_EQ(now_ns, 40 * kSecond);
  EXPECT_LE(idle_wakes, 1);
}

TEST_F(TimerWheelTest, ACancelledTimerWakesTheLoopAtMostOnceALevel) {
  wheel_.arm(nodes_[0], 3600 * kSecond);
  for (std::uint64_t i = 1; i < 3600; ++i) {
    wheel_.arm(nodes_[1], i * kSecond);
    wheel_.cancel(nodes_[1]);
  }
  int idle_wakes = 0;
  std::uint64_t now_ns = 0;
  while (run(wheel_, now_ns = wheel_.next_deadline_ns()).empty()) ++idle_wakes;
  EXPECT_EQ(now_ns, 3600 * kSecond);
  EXPECT_LE(idle_wakes, 8);
}

TEST(TimerWheelDestruction, DisarmsWhatIsLeft) {
  std::deque<NumberedNode> nodes(300);
  {
    TimerWheel wheel;
    for (NumberedNode& node : nodes) wheel.arm(node, 100);
    wheel.arm(nodes[0], 1'000'000);
    EXPECT_EQ(wheel.expire(100, 1, [](TimerNode&) {}), 1u);  // leaves some in the batch
  }
  for (const NumberedNode& node : nodes) EXPECT_FALSE(node.is_armed());
}

TEST(TimerWheelDeathTest, AnArmedNodeMustNotBeDestroyed) {
  EXPECT_DEATH(
      {
        TimerWheel wheel;
        auto node = std::make_unique<TimerNode>();
        wheel.arm(*node, 1);
        node.reset();
      },
      "is_armed");
}

}  // namespace
}  // namespace weir
