// An HTTP/1.1 server: GET / says hello, POST /echo sends its body back while it comes, slice by slice, without a copy.
// Keep-alive, pipelining, chunked bodies; what is doubtful is refused.
#include "examples/http_answers.h"
#include "examples/http_requests.h"
#include "examples/options.h"
#include "weir/weir.h"

namespace {

using example::HttpAnswers;
using example::HttpRequests;

constexpr weir::Duration kLingerTime = std::chrono::seconds(2);

// Answers what came, up to where more is needed or the connection is to end.
void answer(HttpRequests& requests, weir::Buf bytes, HttpAnswers& answers, bool is_stopping) {
  for (;;) {
    switch (requests.next(bytes)) {
      case HttpRequests::Step::need_bytes: return;
      case HttpRequests::Step::head: answers.on_head(requests, is_stopping); break;
      case HttpRequests::Step::body: answers.on_body(requests); break;
      case HttpRequests::Step::end: answers.on_end(requests); break;
      case HttpRequests::Step::bad: return answers.refuse(requests.status());
    }
    if (answers.is_last && !requests.is_in_request()) return;
  }
}

weir::Task<> discard(weir::Stream& peer) {
  while (weir::Buf bytes = co_await peer.read()) bytes.reset();
}

// A head must be there within `patience` of its first byte, and so must each piece of a body, and the next request.
weir::Task<> session(weir::Stream peer, const weir::Runtime& runtime, weir::Duration patience) {
  const weir::Loop& loop = peer.loop();
  HttpRequests requests;
  HttpAnswers answers(peer.loop());
  const auto patience_ns = static_cast<std::uint64_t>(patience.count());
  std::uint64_t deadline_ns = loop.now_ns() + patience_ns;
  std::uint64_t seen_count = 0;
  while (!answers.is_last) {
    const std::uint64_t now_ns = loop.now_ns();
    const weir::Duration left(deadline_ns > now_ns ? deadline_ns - now_ns : 1);
    weir::Result<weir::Buf> got = co_await weir::result(peer.read(left));
    if (!got.ok() && got.error() == weir::Errc::timed_out) {
      if (!requests.is_in_request()) break;
      answers.refuse(408);
    } else {
      weir::Buf bytes = co_await std::move(got);  // any other error ends the session
      if (!bytes) break;
      answer(requests, std::move(bytes), answers, runtime.is_stopping());
    }
    if (answers.is_cut) co_return;
    co_await peer.write(answers.take());
    if (requests.begun_count != seen_count || requests.is_in_body()) {
      deadline_ns = loop.now_ns() + patience_ns;
    }
    seen_count = requests.begun_count;
  }
  co_await peer.finish();
  // A socket that is closed with bytes unread resets the connection, and the peer may lose the answer.
  if (answers.is_last) {
    static_cast<void>(co_await weir::result(weir::with_deadline(discard(peer), kLingerTime)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string_view patience_text = "10";
  const example::Options options = example::parse_options(
      argc, argv, "An HTTP/1.1 server: GET / and POST /echo.",
      {{"--timeout", "SECONDS   for a request's head, and for each wait after it (10)",
        &patience_text}});
  const weir::Duration patience =
      std::chrono::seconds(example::parse_number("--timeout", patience_text, 1, 86'400));

  weir::Runtime runtime(options.runtime);
  const weir::Result<weir::Address> bound =
      runtime.serve(options.listen,
                    [&](weir::Stream peer) { return session(std::move(peer), runtime, patience); },
                    {}, {.on_error = example::log_error});
  return example::run(runtime, bound, options);
}
