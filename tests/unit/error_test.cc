// Errors in words, and the numbers they come from.
#include "weir/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>

#include "weir/check.h"
#include "weir/result.h"

namespace weir {
namespace {

static_assert(std::is_trivially_copyable_v<Error> && sizeof(Error) <= 48);

struct Native {
  const char* name;
  int native;
  Errc code;
};
const Native kNatives[] = {
    {"Reset", ECONNRESET, Errc::connection_reset},
    {"Refused", ECONNREFUSED, Errc::connection_refused},
    {"TimedOut", ETIMEDOUT, Errc::timed_out},
    {"WouldBlock", EWOULDBLOCK, Errc::try_again},
    {"Again", EAGAIN, Errc::try_again},
    {"NotSupported", ENOTSUP, Errc::not_supported},
    {"OperationNotSupported", EOPNOTSUPP, Errc::not_supported},
    {"Already", EALREADY, Errc::in_progress},
    {"NotADirectory", ENOTDIR, Errc::not_a_directory},
    {"Cancelled", ECANCELED, Errc::cancelled},
    {"Unlisted", EDOM, Errc::unknown},
};
class ErrorNative : public ::testing::TestWithParam<Native> {};

TEST_P(ErrorNative, IsNamedAndKeepsItsNumber) {
  const Error error = Error::from_native(GetParam().native, Operation::recv);
  EXPECT_EQ(error, GetParam().code) << error.to_string();
  EXPECT_EQ(error.native, GetParam().native);
}
INSTANTIATE_TEST_SUITE_P(All, ErrorNative, ::testing::ValuesIn(kNatives),
                         [](const auto& row) { return row.param.name; });

TEST(Error, ComesFromACompletionInLinuxNumbers) {
  const Error reset = Error::from_result(-104, Operation::recv);
  EXPECT_EQ(reset, Errc::connection_reset);
  EXPECT_EQ(reset.native, 104);
  const Error own = Error::from_result(-1006, Operation::recv);
  EXPECT_EQ(own, Errc::stopped);
  EXPECT_EQ(own.native, 0);
  EXPECT_EQ(Error::from_result(-999, Operation::recv), Errc::unknown);
}

struct Text {
  const char* name;
  Error error;
  std::string_view text;
};
const Text kTexts[] = {
    {"Ok", Error(), "ok"},
    {"Own", Error::of(Errc::write_refused, Operation::write), "write: write refused"},
    {"NoOperation", Error::of(Errc::closed, Operation::none), "closed"},
    {"Completion", Error::from_result(-111, Operation::connect),
     "connect: connection refused (errno 111)"},
    {"Value", Error::of_value(Errc::invalid_argument, Operation::parse, "x", "ADDR:PORT"),
     "parse: invalid argument: got \"x\", expected ADDR:PORT"},
    {"EmptyValue", Error::of_value(Errc::invalid_argument, Operation::parse, "", "ADDR:PORT"),
     "parse: invalid argument: got \"\", expected ADDR:PORT"},
    {"NothingExpected", Error::of_value(Errc::not_found, Operation::open, "kqueue", nullptr),
     "open: not found: got \"kqueue\""},
    {"LongValue",
     Error::of_value(Errc::invalid_argument, Operation::parse, "0123456789012345678901234567890",
                     "less"),
     "parse: invalid argument: got \"0123456789012345678901\", expected less"},
};
class ErrorText : public ::testing::TestWithParam<Text> {};

TEST_P(ErrorText, SaysWhatHappened) { EXPECT_EQ(GetParam().error.to_string(), GetParam().text); }
INSTANTIATE_TEST_SUITE_P(All, ErrorText, ::testing::ValuesIn(kTexts),
                         [](const auto& row) { return row.param.name; });

TEST(Error, EveryNameIsItsOwn) {
  std::set<std::string_view> names;
  int count = 0;
  for (int code = 0; code < 2000; ++code) {
    const std::string_view name = name_of(static_cast<Errc>(code));
    if (name == "unknown error") continue;
    names.insert(name);
    ++count;
  }
  EXPECT_EQ(static_cast<int>(names.size()), count);
  EXPECT_EQ(count, 46);  // Errc without `unknown`.
  names.clear();
  for (int operation = 0; operation <= static_cast<int>(Operation::write); ++operation) {
    names.insert(name_of(static_cast<Operation>(operation)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Operation::write) + 1);
}

TEST(ErrorDeathTest, IsNotMadeOfSuccess) {
  EXPECT_DEATH(Error::from_native(0, Operation::recv), "\\(0 and 0\\)");
  EXPECT_DEATH(Error::from_result(1, Operation::recv), "\\(1 and 0\\)");
  EXPECT_DEATH(Error::of_value(Errc::ok, Operation::recv, "", nullptr), "Errc::ok");
}

TEST(CheckDeathTest, PrintsPlaceAndValues) {
  const int left = 3;
  EXPECT_DEATH(WEIR_CHECK_EQ(left, 4),
               "error_test.cc:[0-9]+: check failed: left == 4 \\(3 and 4\\)");
  EXPECT_DEATH(WEIR_CHECK(left == 4), "check failed: left == 4");
  EXPECT_DEATH(WEIR_UNREACHABLE("recv: a bug in weir", 9), "recv: a bug in weir \\(9 and 0\\)");
  EXPECT_DEATH(check_failed_text("file", 1, "what", std::string(600, 'x')),
               "file:1: check failed: what: x{512}\n");
  WEIR_CHECK_LE(left, 3);
}

TEST(ResultDeathTest, HasNoValueWhenItFailed) {
  Result<int> failed = Error::of(Errc::closed, Operation::read);
  EXPECT_FALSE(failed);
  EXPECT_EQ(failed.error(), Errc::closed);
  EXPECT_DEATH(failed.value(), "\\(1003 and 0\\)");
  Result<int> good = 5;
  EXPECT_EQ(*good, 5);
  EXPECT_TRUE(good.error().ok());
}

}  // namespace
}  // namespace weir
