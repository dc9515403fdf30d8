// Direct descriptors: sockets in the ring's own table carry bytes, half-close, end and come back like others, cost the
// process no descriptor, and say plainly what they cannot tell.
#include <algorithm>
#include <filesystem>

#include "src/net/net_state.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

constexpr std::uint32_t kAccepts = 2500;

Limits direct_limits(std::uint32_t connects) {
  Limits limits;
  limits.connections_max = 400;
  limits.direct_accepts = kAccepts;
  limits.direct_connects = connects;
  return limits;
}

std::size_t descriptor_count() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

class DirectDescriptors : public ::testing::Test {
 protected:
  void make(std::uint32_t connects) {
    rig_ = std::make_unique<LoopRig>(
        LoopOptions{.backend = "io_uring", .limits = direct_limits(connects)});
    if (!rig_->is_available()) GTEST_SKIP() << rig_->reason();
    const std::vector<std::string>& notes = rig_->loop().core().backend().caps().notes;
    for (const std::string& note : notes) {
      if (note.starts_with("direct descriptors:")) GTEST_SKIP() << note;
    }
  }
  bool is_direct(const Stream& stream) {
    return rig_->loop().core().backend().native(stream.core()->handle()) == -1;
  }
  std::unique_ptr<LoopRig> rig_;
};

TEST_F(DirectDescriptors, CarryBytesBothWaysAndEachEndByItself) {
  make(4);
  if (IsSkipped()) return;
  auto [near, far] = connect_streams(*rig_);
  EXPECT_TRUE(is_direct(near) && is_direct(far));
  const std::string text = pattern(600'000, 1);
  const auto both = [&, &one = near, &other = far]() -> Task<> {
    const auto send = [&]() -> Task<> {
      co_await one.write(std::string_view(text).substr(0, 60'000));
      for (std::size_t at = 60'000; at < text.size(); at += 30'000) {
        co_await one.write(std::string_view(text).substr(at, 30'000));
      }
      co_await one.finish();
      std::string back = co_await read_all(one);
      EXPECT_EQ(back, "all of it");
    };
    const auto take = [&]() -> Task<> {
      std::string all = co_await read_all(other);
      EXPECT_TRUE(all == text);
      co_await other.write("all of it");
      co_await other.finish();
    };
    co_await when_all(send(), take());
  };
  EXPECT_TRUE(rig_->run(both).ok());
}

TEST_F(DirectDescriptors, SayWhatTheyCannotTell) {
  make(4);
  if (IsSkipped()) return;
  auto [near, far] = connect_streams(*rig_);
  for (const Stream* stream : {&near, &far}) {
    EXPECT_EQ(stream->local_address().family, Family::none);
    EXPECT_EQ(stream->peer_address().family, Family::none);
    EXPECT_EQ(stream->get_option(SocketOption::no_delay).error(), Errc::not_supported);
  }
  EXPECT_EQ(near.set_option(SocketOption::no_delay, 1).error(), Errc::not_supported);
  far.reset();  // a close, for lack of the option that makes it a reset
  const auto reader = [&stream = near]() -> Task<> {
    Buf end = co_await stream.read();
    EXPECT_TRUE(end.empty());
  };
  EXPECT_TRUE(rig_->run(reader).ok());
}

TEST_F(DirectDescriptors, ConnectWithADescriptorWhenTheirPlacesAreTaken) {
  make(1);
  if (IsSkipped()) return;
  auto [first, first_far] = connect_streams(*rig_);
  auto [second, second_far] = connect_streams(*rig_);
  EXPECT_TRUE(is_direct(first));
  EXPECT_FALSE(is_direct(second));
  EXPECT_NE(second.local_address().family, Family::none);
  first = {};
  rig_->until([&] { return rig_->metrics().closed == 1; });
  rig_->turns(2);
  auto [third, third_far] = connect_streams(*rig_);
  EXPECT_TRUE(is_direct(third)) << "the place is free again";
}

TEST_F(DirectDescriptors, CostTheProcessNone) {
  make(200);
  if (IsSkipped()) return;
  const std::size_t before = descriptor_count();
  std::vector<Stream> streams;
  for (int i = 0; i < 150; ++i) {
    auto [near, far] = connect_streams(*rig_);
    streams.push_back(std::move(near));
    streams.push_back(std::move(far));
  }
  rig_->turns(3);  // the listeners are closed in turns of their own
  EXPECT_EQ(descriptor_count(), before);
  streams.clear();
  rig_->until([&] { return rig_->metrics().connections == 0; });
}

TEST(DirectDescriptorLimits, MustLeaveRoomForWhatIsUnderWay) {
  Limits limits = direct_limits(0);
  limits.direct_accepts = limits.connections_max + 2047;
  const Result<void> checked = limits.validate();
  ASSERT_FALSE(checked.ok());
  EXPECT_NE(checked.error().to_string().find("2447"), std::string::npos);
  EXPECT_NE(checked.error().to_string().find("direct_accepts"), std::string::npos);
}

TEST(DirectDescriptorLimits, AMaskOfAnOlderKernelSaysThatItHasNone) {
  LoopRig rig(LoopOptions{.backend = "io_uring:5.10", .limits = direct_limits(4)});
  if (!rig.is_available()) GTEST_SKIP() << rig.reason();
  const std::vector<std::string>& notes = rig.loop().core().backend().caps().notes;
  EXPECT_TRUE(std::ranges::any_of(
      notes, [](const std::string& note) { return note.starts_with("direct descriptors: not"); }));
  auto [near, far] = connect_streams(rig);
  EXPECT_NE(near.local_address().family, Family::none);
}

}  // namespace
}  // namespace weir::test
