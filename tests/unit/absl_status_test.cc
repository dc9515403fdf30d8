// weir's errors keep their meaning and their text as abseil's.
#include "weir/absl_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

namespace {

using weir::Errc;
using weir::Error;
using weir::Operation;
using weir::Result;

TEST(AbslStatus, ErrorsOfTheSystemMapAsAbseilMapsTheirErrno) {
  for (std::int32_t native = 1; native < 134; ++native) {
    const Error error = Error::from_native(native, Operation::read);
    if (static_cast<std::int32_t>(error.code) != native) continue;  // not one of weir's own codes
    EXPECT_EQ(weir::to_absl(error).code(), absl::ErrnoToStatusCode(native)) << error.to_string();
  }
}

struct Row {
  Errc code;
  absl::StatusCode expected;
};
const Row kRows[] = {
    {Errc::write_refused, absl::StatusCode::kResourceExhausted},
    {Errc::end_of_stream, absl::StatusCode::kOutOfRange},
    {Errc::closed, absl::StatusCode::kFailedPrecondition},
    {Errc::stopped, absl::StatusCode::kCancelled},
    {Errc::unavailable, absl::StatusCode::kUnavailable},
    {Errc::unknown, absl::StatusCode::kUnknown},
};

TEST(AbslStatus, ErrorsOfWeirMapToWhatACallerWouldDo) {
  for (const Row& row : kRows) {
    EXPECT_EQ(weir::to_absl(Error::of(row.code, Operation::read)).code(), row.expected)
        << weir::name_of(row.code);
  }
}

TEST(AbslStatus, NoErrorIsOk) { EXPECT_TRUE(weir::to_absl(Error{}).ok()); }

TEST(AbslStatus, KeepsTheTextWithTheValueAndWhatWasExpected) {
  const Error error =
      Error::of_value(Errc::invalid_argument, Operation::parse, "1.2.3:x", "ADDR:PORT");
  EXPECT_THAT(std::string(weir::to_absl(error).message()),
              testing::AllOf(testing::HasSubstr("1.2.3:x"), testing::HasSubstr("ADDR:PORT")));
}

TEST(AbslStatus, AResultGivesItsValueOnceMoved) {
  absl::StatusOr<std::unique_ptr<int>> got =
      weir::to_absl(Result<std::unique_ptr<int>>(std::make_unique<int>(7)));
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(**got, 7);
}

TEST(AbslStatus, AFailedResultGivesItsError) {
  EXPECT_EQ(weir::to_absl(Result<int>(Error::of(Errc::timed_out, Operation::read))).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(weir::to_absl(Result<void>(Error::of(Errc::timed_out, Operation::read))).code(),
            absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
