// The end of a programming error: one line with place and values on standard error, in one write, then abort.
#include "weir/check.h"

#include <cstdio>
#include <cstdlib>

namespace weir::inline v0 {

namespace {

constexpr int kDetailMax = 512;  // Characters of a detail; the line stays whole in one write.

[[noreturn]] void print_and_abort(const char* line) {
  std::fputs(line, stderr);
  std::fflush(stderr);
  std::abort();
}

}  // namespace

void check_failed(const char* file, int line, const char* what) {
  char text[1024];
  std::snprintf(text, sizeof(text), "%s:%d: check failed: %s\n", file, line, what);
  print_and_abort(text);
}

void check_failed(const char* file, int line, const char* what, std::int64_t left,
                  std::int64_t right) {
  char text[1024];
  std::snprintf(text, sizeof(text), "%s:%d: check failed: %s (%lld and %lld)\n", file, line, what,
                static_cast<long long>(left), static_cast<long long>(right));
  print_and_abort(text);
}

void check_failed_text(const char* file, int line, const char* what, std::string_view detail) {
  char text[1024];
  const int shown = detail.size() < kDetailMax ? static_cast<int>(detail.size()) : kDetailMax;
  std::snprintf(text, sizeof(text), "%s:%d: check failed: %s: %.*s\n", file, line, what, shown,
                detail.data());
  print_and_abort(text);
}

}  // namespace weir::inline v0
