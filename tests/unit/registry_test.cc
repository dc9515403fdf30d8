// Backends by name, and what `auto` does when one refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/builtin.h"
#include "weir/backend.h"

namespace weir::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class Registry : public ::testing::Test {
 protected:
  OpTable ops;
  Metrics metrics;
  Limits limits;
  Result<ChosenBackend> make(std::string_view name) {
    return make_backend(name, {ops, metrics, limits});
  }
};

std::string seen_variant;
Result<std::unique_ptr<Backend>> refuse(std::string_view variant, const BackendContext&) {
  seen_variant = variant;
  return Error::of(Errc::not_permitted, Operation::start);
}

// Another backend by another name: epoll, from the table of the build.
Result<std::unique_ptr<Backend>> make_fake(std::string_view, const BackendContext& context) {
  for (const BuiltinBackend& backend : builtin_backends()) {
    if (std::string_view(backend.name) == "epoll") return backend.make({}, context);
  }
  return Error::of(Errc::unavailable, Operation::start);
}

TEST_F(Registry, TheBuiltInOnesAreKnownWithoutAnybodyNamingThem) {
  EXPECT_THAT(backend_names(), Contains("epoll"));
  EXPECT_THAT(backend_names(), Contains("io_uring"));  // perhaps as a stub, which says why
}

TEST_F(Registry, AnUnknownNameIsAnErrorThatListsTheKnownOnes) {
  const Result<ChosenBackend> made = make("epol");
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error(), Errc::invalid_argument);
  EXPECT_THAT(made.error().to_string(), HasSubstr("epol"));
  EXPECT_THAT(made.error().to_string(), HasSubstr("auto, epoll, io_uring"));
}

TEST_F(Registry, AVariantThatIsNoneIsAnError) {
  const Result<ChosenBackend> made = make("epoll:5.10");
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error(), Errc::invalid_argument);
  EXPECT_THAT(made.error().to_string(), HasSubstr("5.10"));
}

TEST_F(Registry, OneFromOutsideGetsItsVariantAndItsErrorComesBack) {
  register_backend("refuser", refuse);
  EXPECT_THAT(backend_names(), Contains("refuser"));
  EXPECT_EQ(make("refuser:of:all").error(), Errc::not_permitted);
  EXPECT_EQ(seen_variant, "of:all");
  EXPECT_THAT(make("nobody").error().to_string(), HasSubstr("refuser"));
}

TEST_F(Registry, AutoSaysWhatItTook) {
  const Result<ChosenBackend> made = make("auto");
  ASSERT_TRUE(made.ok()) << made.error().to_string();
  EXPECT_EQ(made.value().reason, "auto took " + made.value().backend->caps().name);
}

// Puts back what the build has, whatever the test put in its place.
struct Restore {
  ~Restore() {
    for (const BuiltinBackend& backend : builtin_backends())
      register_backend(backend.name, backend.make);
  }
};

TEST_F(Registry, AutoFallsBackAndKeepsTheReasons) {
  const Restore restore;
  register_backend("io_uring", refuse);
  const Result<ChosenBackend> made = make("auto");
  ASSERT_TRUE(made.ok()) << made.error().to_string();
  EXPECT_EQ(made.value().backend->caps().name, "epoll");
  EXPECT_THAT(made.value().reason, HasSubstr("io_uring: start: operation not permitted"));
  register_backend("io_uring", make_fake);  // without multishot receives
  const Result<ChosenBackend> better = make("auto");
  ASSERT_TRUE(better.ok()) << better.error().to_string();
  EXPECT_EQ(better.value().backend->caps().name, "epoll");
  EXPECT_THAT(better.value().reason, HasSubstr("io_uring: no multishot receives"));
  register_backend("epoll", refuse);
  const Result<ChosenBackend> than_nothing = make("auto");
  ASSERT_TRUE(than_nothing.ok()) << than_nothing.error().to_string();
  EXPECT_THAT(than_nothing.value().reason, HasSubstr("auto took io_uring"));
  EXPECT_THAT(than_nothing.value().reason, HasSubstr("epoll: start: operation not permitted"));
}

TEST_F(Registry, WhenAllRefuseAutoHasTheLastError) {
  const Restore restore;
  register_backend("epoll", refuse);
  register_backend("io_uring", refuse);
  EXPECT_EQ(make("auto").error(), Errc::not_permitted);
}

}  // namespace
}  // namespace weir::test
