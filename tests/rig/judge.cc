// Keeps the first failures: later ones follow from them.
#include "tests/rig/judge.h"

namespace weir::test {

namespace {
constexpr std::size_t kShownMax = 5;
}

void Judge::fail(std::string text) {
  if (failure_count_++ < kShownMax) failures_ += text + "\n";
}

std::string Judge::verdict() const {
  if (failure_count_ <= kShownMax) return failures_;
  return failures_ + "and " + std::to_string(failure_count_ - kShownMax) + " more\n";
}

bool Judge::demand(bool holds, std::string_view what, const char* file, int line) {
  if (!holds) {
    const std::string_view path = file;
    fail(std::string(path.substr(path.rfind('/') + 1)) + ":" + std::to_string(line) + ": " +
         std::string(what));
  }
  return holds;
}

}  // namespace weir::test
