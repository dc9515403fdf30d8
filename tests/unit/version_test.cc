// The version that programs see is the one that was built.
#include "weir/version.h"

#include <gtest/gtest.h>

namespace {

TEST(Version, IsThatOfTheBuild) { EXPECT_EQ(weir::version(), WEIR_BUILD_VERSION); }

}  // namespace
