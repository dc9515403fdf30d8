// How the sink classes results: control before data, never an op's end before its bytes.
#include <gtest/gtest.h>

#include "tests/unit/seam_rig.h"

namespace weir::test {
namespace {

class SinkTest : public ::testing::Test {
 protected:
  OpTable ops;
  HandSink sink{ops};
  Op op;

  SinkTest() { sink.set_room(8); }
  ~SinkTest() override { op.state = OpState::idle; }
  void begin(OpKind kind) {
    op.kind = kind;
    ops.adopt(op);
    ops.begin(op);
  }
};

struct Row {
  std::string_view name;
  OpKind kind;
  std::int32_t result;
  std::uint16_t flags;
  bool is_control;
};
const Row kRows[] = {
    {"Received", OpKind::recv, 5, 0, false},
    {"Failed", OpKind::recv, -ECONNRESET, 0, false},
    {"Cancelled", OpKind::recv, -ECANCELED, 0, true},
    {"CancelledButGoesOn", OpKind::recv, -ECANCELED, kMore, false},
    {"Closed", OpKind::close, 0, 0, true},
    {"Nop", OpKind::nop, 0, 0, true},
    {"Wake", OpKind::wake, 0, 0, true},
};
class SinkClass : public SinkTest, public ::testing::WithParamInterface<Row> {};

TEST_P(SinkClass, OfAnOpWithNothingBefore) {
  begin(GetParam().kind);
  sink.push(op, {.id = op.id, .result = GetParam().result, .flags = GetParam().flags});
  EXPECT_EQ(sink.waiting(), 1u);
  EXPECT_EQ(sink.waiting_control(), GetParam().is_control ? 1u : 0u);
  EXPECT_EQ(sink.room(), GetParam().is_control ? 8u : 7u) << "room is for data";
  EXPECT_EQ(op.undelivered, 1u);
}
INSTANTIATE_TEST_SUITE_P(Rows, SinkClass, ::testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_F(SinkTest, ACancelWaitsBehindTheBytesOfItsOp) {
  begin(OpKind::recv);
  sink.push({.id = op.id, .result = 5, .flags = kMore});
  sink.push({.id = op.id, .result = -ECANCELED});
  EXPECT_EQ(sink.waiting_control(), 0u);
  EXPECT_EQ(op.undelivered, 2u);
  Completion out;
  ASSERT_TRUE(sink.next(out));
  EXPECT_EQ(out.result, 5);
  ASSERT_TRUE(sink.next(out));
  EXPECT_EQ(out.result, -ECANCELED);
  EXPECT_EQ(op.undelivered, 0u);
}

TEST_F(SinkTest, AResultOfNobodyIsCountedAndDropped) {
  begin(OpKind::recv);
  const OpId former = op.id;
  op.state = OpState::idle;
  ops.begin(op);
  sink.push({.id = former, .result = 5});
  EXPECT_EQ(sink.waiting(), 0u);
  EXPECT_EQ(sink.stale(), 1u);
}

TEST_F(SinkTest, TheQueueGrowsAndKeepsTheOrder) {
  begin(OpKind::recv);
  Completion out;
  for (int i = 0; i < 300; ++i) sink.push(op, {.id = op.id, .result = i, .flags = kMore});
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(sink.next(out));
  for (int i = 300; i < 2000; ++i) sink.push(op, {.id = op.id, .result = i, .flags = kMore});
  for (int i = 200; i < 2000; ++i) {
    ASSERT_TRUE(sink.next(out));
    ASSERT_EQ(out.result, i);
  }
  EXPECT_FALSE(sink.next(out));
  EXPECT_EQ(sink.room(), 0u);
}

}  // namespace
}  // namespace weir::test
