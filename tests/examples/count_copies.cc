// Has weir copy payload in each way it has, and prints what it counted of that; count_calls.cc, preloaded, sees the copies.
#include <cstdio>
#include <string>

#include "weir/weir.h"

namespace {

constexpr std::size_t kPiece = 5000;
constexpr std::size_t kShort = 500;

weir::Task<> copy(weir::Loop& loop) {
  auto [one, other] = weir::make_stream_pair(loop);
  const std::string text(kPiece, 'x');
  weir::Buf first = loop.copy_of(text);
  weir::Buf second = loop.copy_of(text);
  weir::Buf kept = second.share();
  co_await one.write(std::move(first));
  co_await one.write(std::move(second));
  weir::Buf joined = co_await other.read_exact(2 * kPiece);  // from two pieces
  kept.trim_back(kept.size() - kShort);
  co_await one.write(std::move(kept));  // nobody reads: it leaves the block that it pins
  co_await weir::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

int main() {
  const std::unique_ptr<weir::Loop> loop = weir::Loop::make().value();
  loop->spawn(copy(*loop), "copy");
  loop->run();
  std::printf("%llu\n", static_cast<unsigned long long>(loop->metrics().bytes_copied));
}
