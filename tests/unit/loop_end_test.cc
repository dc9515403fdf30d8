// The end of a loop: with everything in flight, with owners that live longer, and with an op that never ends.
#include "tests/order/scripted.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

class LoopEnd : public LoopTest {
 protected:
  /// Ends the loop at once, without waiting for anything first.
  std::string end_now() {
    ::testing::internal::CaptureStderr();
    rig_->take().reset();
    return ::testing::internal::GetCapturedStderr();
  }
};

TEST_P(LoopEnd, WithNothing) { EXPECT_EQ(end_now(), ""); }

TEST_P(LoopEnd, WithEverythingInFlight) {
  auto [near, far] = connect_streams(*rig_);
  auto [near2, far2] = connect_streams(*rig_);
  int destroyed = 0;
  struct Guard {
    int& count;
    ~Guard() { ++count; }
  };
  const auto reads = [&](Stream stream) -> Task<> {
    Guard guard{destroyed};
    Buf bytes = co_await stream.read({1h});
    ADD_FAILURE() << "read " << bytes.size();
  };
  const auto floods = [&](Stream stream) -> Task<> {
    Guard guard{destroyed};
    for (;;) co_await stream.write(pattern(100'000));
  };
  const auto accepts = [&]() -> Task<> {
    Guard guard{destroyed};
    Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
    Stream stream = co_await listener.accept();
    ADD_FAILURE() << "accepted";
  };
  const auto sleeps = [&]() -> Task<> {
    Guard guard{destroyed};
    co_await sleep_for(1h);
  };
  const auto connects = [&]() -> Task<> {
    Guard guard{destroyed};
    Listener listener = Listener::listen(loop(), Address::loopback(0)).value();
    Stream stream = co_await connect(listener.local_address());
    co_await sleep_for(1h);
  };
  const auto yields = [&]() -> Task<> {
    Guard guard{destroyed};
    for (;;) co_await yield();
  };
  loop().spawn(reads(std::move(near)), "reads");
  loop().spawn(floods(std::move(near2)), "floods");
  loop().spawn(accepts(), "accepts");
  loop().spawn(sleeps(), "sleeps");
  loop().spawn(connects(), "connects");
  loop().spawn(yields(), "yields");
  rig_->turns(5);
  loop().spawn(yields(), "never started");
  far.close();  // in flight too
  far2 = {};
  far = {};
  EXPECT_EQ(end_now(), "");
  EXPECT_EQ(destroyed, 6);
}

TEST_P(LoopEnd, JobsThatOwnStreamsGoWhileTheLoopCanStillCloseThem) {
  auto [near, far] = connect_streams(*rig_);
  auto [near2, far2] = connect_streams(*rig_);
  loop().immediate([stream = std::move(near)] { ADD_FAILURE(); });
  loop().microtask([stream = std::move(far)] { ADD_FAILURE(); });
  loop().tick([stream = std::move(near2)] { ADD_FAILURE(); });
  EXPECT_EQ(loop().post([stream = std::move(far2)] { ADD_FAILURE(); }), Posted::queued);
  EXPECT_EQ(end_now(), "");
}

TEST_P(LoopEnd, HandlersHearThatTheLoopStopped) {
  auto [near, far] = connect_streams(*rig_);
  Recorder handler;
  near.start(handler);
  handler.on_closed = [&, &stream = near] { stream = {}; };
  far = {};
  EXPECT_EQ(end_now(), "");
  EXPECT_EQ(handler.close_count, 1);
  EXPECT_EQ(handler.calls.back(), "close");
  EXPECT_EQ(handler.close_error, Errc::stopped);
}

TEST_P(LoopEnd, TimersAndHooksMayOutliveTheLoop) {
  Timer timer(loop());
  PrepareHook hook;
  timer.arm(1h, [] {});
  loop().prepare(hook, [] {});
  EXPECT_EQ(end_now(), "");
  EXPECT_FALSE(timer.is_armed());
}

TEST_P(LoopEnd, PostAfterTheEndHasBegunIsRefused) {
  const auto task = [&]() -> Task<> {
    struct AtEnd {
      Loop& loop;
      ~AtEnd() {
        EXPECT_EQ(loop.post([] { ADD_FAILURE(); }), Posted::ended);
      }
    } at_end{loop()};
    co_await sleep_for(1h);
  };
  loop().spawn(task(), "sleeps");
  rig_->turns(2);
  EXPECT_EQ(end_now(), "");
}

TEST_P(LoopEnd, ManyLoopsOneAfterAnother) {
  for (int i = 0; i < 10; ++i) {
    LoopRig rig({.backend = GetParam()});
    auto [near, far] = connect_streams(rig);
    ::testing::internal::CaptureStderr();
    near = {};
    far = {};
    rig.take().reset();
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  }
}

INSTANTIATE_TEST_SUITE_P(AllBackends, LoopEnd, ::testing::ValuesIn(kBackends), backend_name);

// An op whose terminal never comes: the loop gives up after its time, says so, and keeps what the kernel may use.
class StuckOpDeathTest : public ScriptedTest {};

TEST_F(StuckOpDeathTest, IsReportedOnceAfterItsCancel) {
  Limits limits;
  limits.cancel_report_ns = 1'000'000;
  make_loop(limits);
  SeenOp<Op> op(loop(), OpKind::poll, [](const Completion&) {});
  loop().submit(op);
  loop().cancel(op);
  const Completion terminal = std::exchange(backend().script, {}).front();
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 3; ++i) {
    backend().clock_ns += 1'000'000;
    turn();
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, ::testing::HasSubstr("was cancelled"));
  EXPECT_EQ(text.find("was cancelled"), text.rfind("was cancelled"));
  EXPECT_EQ(loop().metrics().stuck_ops, 1u);
  backend().script.push_back(terminal);
  turn();
}

// Nothing else makes the loop turn: its next poll ends when the report is due.
TEST_F(StuckOpDeathTest, IsReportedByALoopThatIsIdleOtherwise) {
  Limits limits;
  limits.cancel_report_ns = 5'000'000;
  make_loop(limits);
  SeenOp<Op> op(loop(), OpKind::poll, [](const Completion&) {});
  loop().submit(op);
  loop().cancel(op);
  const std::uint64_t due_ns = backend().clock_ns + limits.cancel_report_ns;
  const Completion terminal = std::exchange(backend().script, {}).front();
  EXPECT_EQ(loop().next_deadline_ns(), due_ns);
  ::testing::internal::CaptureStderr();
  loop().run(RunMode::once);
  loop().run(RunMode::no_wait);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), ::testing::HasSubstr("was cancelled 5 ms"));
  EXPECT_EQ(backend().poll_deadlines.front(), due_ns);
  EXPECT_EQ(loop().metrics().stuck_ops, 1u);
  EXPECT_EQ(loop().next_deadline_ns(), Backend::kNever);  // said once
  backend().script.push_back(terminal);
  turn();
}

TEST_F(StuckOpDeathTest, IsKeptAndReportedAtTheEndOfTheLoop) {
  const auto end_with_a_stuck_op = [this] {
    static SeenOp<Op> op(loop(), OpKind::poll, [](const Completion&) {});
    loop().submit(op, backend().clock_ns + 3'600'000'000'000);  // its deadline goes all the same
    backend().ignores_cancel = true;
    backend().clock_step_ns = 1'000'000'000;
    loop_.reset();
    std::_Exit(7);  // before leaks are looked for: here they are wanted
  };
  EXPECT_EXIT(end_with_a_stuck_op(), ::testing::ExitedWithCode(7), "1 ops never ended");
}

}  // namespace
}  // namespace weir::test
