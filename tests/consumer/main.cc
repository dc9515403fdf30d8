// A program outside weir's tree: what it may use is what the library exports.
#include <weir/version.h>

#include <cstdio>

int main() {
  std::printf("weir %.*s\n", static_cast<int>(weir::version().size()), weir::version().data());
  return weir::version().empty() ? 1 : 0;
}
