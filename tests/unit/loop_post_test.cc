// Posting to a real loop: what is over a turn's budget does not wait for another event, a refused job stays its owner's.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <utility>

#include "weir/loop.h"

namespace weir {
namespace {

std::unique_ptr<Loop> make_loop(const Limits& limits) {
  Result<std::unique_ptr<Loop>> made = Loop::make({.limits = limits});
  EXPECT_TRUE(made.ok()) << made.error().to_string();
  return made.ok() ? std::move(made).value() : nullptr;
}

TEST(LoopPostTest, WhatIsOverTheBudgetRunsWithoutAnotherEvent) {
  Limits limits;
  limits.posts_per_turn = 2;
  const auto loop = make_loop(limits);
  ASSERT_NE(loop, nullptr);
  int ran_count = 0;
  for (int i = 0; i < 5; ++i) {
    const Posted posted = loop->post([&] {
      if (++ran_count == 5) loop->stop();
    });
    ASSERT_EQ(posted, Posted::queued);
  }
  Timer last_resort(*loop);  // keeps the loop alive, and would be the other event
  last_resort.arm(std::chrono::seconds(20), [&] { loop->stop(); });
  loop->run();
  EXPECT_EQ(ran_count, 5);
  EXPECT_TRUE(last_resort.is_armed());
  EXPECT_EQ(loop->metrics().post_budget_hits, 2u);
}

TEST(LoopPostTest, AFullQueueLeavesTheJobToItsOwner) {
  Limits limits;
  limits.posts_max = 1;
  const auto loop = make_loop(limits);
  ASSERT_NE(loop, nullptr);
  ASSERT_EQ(loop->post([] {}), Posted::queued);
  int ran_count = 0;
  Job refused = [&] { ++ran_count; };
  EXPECT_EQ(loop->post(std::move(refused)), Posted::full);
  ASSERT_TRUE(refused);  // NOLINT(bugprone-use-after-move): it was not taken
  refused.run();
  EXPECT_EQ(ran_count, 1);
  EXPECT_EQ(loop->metrics().posts_refused, 1u);
}

}  // namespace
}  // namespace weir
