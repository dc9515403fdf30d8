// The Prometheus endpoint: what it answers to which request, that others can read it, and its bounds.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

const std::string kGet = "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n";

struct Reply {
  std::string head;
  std::string body;
  bool is(int status) const { return head.starts_with("HTTP/1.1 " + std::to_string(status) + " "); }
  bool has(const std::string& line) const {
    return (head + "\r\n").find("\r\n" + line + "\r\n") != std::string::npos;
  }
};

/// Reads one answer; a body as long as its head says, unless there is none.
Task<Reply> read_reply(Stream& from, bool has_body = true) {
  Reply reply;
  Buf head = co_await from.read_until("\r\n\r\n", 16 << 10, {5s});
  reply.head = std::string(head.text().substr(0, head.size() - 4));
  const std::string kLength = "Content-Length: ";
  const std::size_t at = reply.head.find(kLength);
  const std::size_t size = std::stoul(reply.head.substr(at + kLength.size()));
  if (has_body && size != 0) {
    Buf body = co_await from.read_exact(size, {5s});
    reply.body = std::string(body.text());
  }
  co_return reply;
}

class MetricsServerTest : public LoopTest {
 protected:
  void TearDown() override {
    if (rig_->is_available())
      loop().scope().cancel();  // the endpoint, which would go with the loop
  }
  Address serve(const MetricsOptions& options = {}) {
    return serve_metrics(loop(), Address::loopback(0), options).value();
  }
  /// One request on a connection of its own, and whether the connection goes on.
  Reply ask(const Address& where, const std::string& request, bool& goes_on) {
    Reply reply;
    const auto body = [&]() -> Task<> {
      Stream stream = co_await connect(where);
      co_await stream.write(request);
      reply = co_await read_reply(stream, !request.starts_with("HEAD"));
      co_await stream.write(kGet);
      Result<Reply> second = co_await result(read_reply(stream));
      goes_on = second.ok();
      EXPECT_TRUE(!goes_on || second->is(200));
    };
    const Error error = run(body);
    EXPECT_TRUE(error.ok()) << error.to_string();
    return reply;
  }
  std::string page(const Address& where) {
    bool goes_on = false;
    return ask(where, kGet, goes_on).body;
  }
};

struct RequestRow {
  const char* name;
  std::string request;
  int status;
  bool goes_on;
};
const std::string kHost = "Host: here\r\n";
const RequestRow kRequests[] = {
    {"Get", kGet, 200, true},
    {"Head", "HEAD /metrics HTTP/1.1\r\n" + kHost + "\r\n", 200, true},
    {"Query", "GET /metrics?name=x HTTP/1.1\r\n" + kHost + "\r\n", 200, true},
    {"WholeUri", "GET http://here:80/metrics HTTP/1.1\r\n" + kHost + "\r\n", 200, true},
    {"KeepAliveSaid", "GET /metrics HTTP/1.1\r\n" + kHost + "Connection: Keep-Alive\r\n\r\n", 200,
     true},
    {"Close", "GET /metrics HTTP/1.1\r\n" + kHost + "Connection: close\r\n\r\n", 200, false},
    {"Http10", "GET /metrics HTTP/1.0\r\n\r\n", 200, false},
    {"GetWithABody", "GET /metrics HTTP/1.1\r\n" + kHost + "Content-Length: 5\r\n\r\nhello", 200,
     false},
    {"NoBody", "GET /metrics HTTP/1.1\r\n" + kHost + "Content-Length: 0\r\n\r\n", 200, true},
    {"OtherPath", "GET / HTTP/1.1\r\n" + kHost + "\r\n", 404, true},
    {"LongerPath", "GET /metrics/x HTTP/1.1\r\n" + kHost + "\r\n", 404, true},
    {"WholeUriWithoutPath", "GET http://here HTTP/1.1\r\n" + kHost + "\r\n", 404, true},
    {"Star", "OPTIONS * HTTP/1.1\r\n" + kHost + "\r\n", 404, true},
    {"Post", "POST /metrics HTTP/1.1\r\n" + kHost + "\r\n", 405, true},
    {"PostWithABody", "POST /metrics HTTP/1.1\r\n" + kHost + "Content-Length: 5\r\n\r\nhello", 405,
     false},
    {"Chunked", "PUT /metrics HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     405, false},
    {"NoHost", "GET /metrics HTTP/1.1\r\n\r\n", 400, false},
    {"TwoHosts", "GET /metrics HTTP/1.1\r\n" + kHost + kHost + "\r\n", 400, false},
    {"NoVersion", "GET /metrics\r\n\r\n", 400, false},
    {"NotHttp", "GET /metrics FTP/1.1\r\n\r\n", 400, false},
    {"Http2", "GET /metrics HTTP/2.0\r\n\r\n", 505, false},
    {"NoMethod", " /metrics HTTP/1.1\r\n" + kHost + "\r\n", 400, false},
    {"SpaceInTarget", "GET /metrics x HTTP/1.1\r\n" + kHost + "\r\n", 400, false},
    {"NoColon", "GET /metrics HTTP/1.1\r\n" + kHost + "nonsense\r\n\r\n", 400, false},
    {"SpaceBeforeColon", "GET /metrics HTTP/1.1\r\nHost : here\r\n\r\n", 400, false},
    {"FoldedLine", "GET /metrics HTTP/1.1\r\n" + kHost + " more\r\n\r\n", 400, false},
    {"BareLf", "GET /metrics HTTP/1.1\nHost: here\n\r\n\r\n", 400, false},
    {"BareLfInAHeader", "GET /metrics HTTP/1.1\r\nHost: here\nA: b\r\n\r\n", 400, false},
    {"Nothing", "\r\n\r\n", 400, false},
    {"TooLong", "GET /metrics HTTP/1.1\r\n" + kHost + "A: " + std::string(9000, 'x') + "\r\n\r\n",
     431, false},
};

TEST_P(MetricsServerTest, AnswersEachRequest) {
  const Address where = serve();
  for (const RequestRow& row : kRequests) {
    bool goes_on = false;
    const Reply reply = ask(where, row.request, goes_on);
    EXPECT_TRUE(reply.is(row.status)) << row.name << ": " << reply.head;
    EXPECT_EQ(goes_on, row.goes_on) << row.name;
    EXPECT_EQ(reply.has("Connection: close"), !row.goes_on) << row.name;
    EXPECT_EQ(reply.has("Allow: GET, HEAD"), row.status == 405) << row.name;
    EXPECT_EQ(reply.has("Content-Type: text/plain; version=0.0.4; charset=utf-8"),
              row.status == 200)
        << row.name;
  }
  EXPECT_FALSE(loop().run());  // it does not keep the loop alive
}

TEST_P(MetricsServerTest, GivesEachMetricWithItsKindAndText) {
  const Address where = serve();
  const std::string text = page(where);
  for (const MetricInfo& info : Metrics::table()) {
    if (std::string_view(info.name).ends_with("_ns")) continue;
    const std::string name = std::string("weir_") + info.name + (info.is_gauge ? "" : "_total");
    EXPECT_THAT(text, ::testing::HasSubstr("# HELP " + name + " " + info.help + "\n# TYPE " + name +
                                           (info.is_gauge ? " gauge\n" : " counter\n") + name +
                                           "{loop=\"loop\"} "));
  }
  EXPECT_THAT(text, ::testing::HasSubstr("\nweir_accepted_total{loop=\"loop\"} 1\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("\nweir_connections{loop=\"loop\"} 2\n"));
  EXPECT_THAT(page(where), ::testing::HasSubstr("\nweir_accepted_total{loop=\"loop\"} 2\n"));
}

TEST(PrometheusText, TellsSecondsAndEscapesTheLabel) {
  Metrics metrics;
  metrics.offload_run_ns = 12'000'000'345;
  const std::string text = prometheus_text(metrics, "a\"b\\c\nd");
  EXPECT_THAT(text, ::testing::HasSubstr(
                        "# HELP weir_offload_run_seconds_total seconds on threads\n"
                        "# TYPE weir_offload_run_seconds_total counter\n"
                        "weir_offload_run_seconds_total{loop=\"a\\\"b\\\\c\\nd\"} 12.000000345\n"));
}

// Prometheus' own client library reads it: kinds, texts, labels, and each name once.
TEST_P(MetricsServerTest, IsReadByAParserOfPrometheus) {
  const std::string path = ::testing::TempDir() + "weir-metrics-" + std::to_string(::getpid());
  std::ofstream(path) << page(serve());
  const std::string script = R"(
import sys
from prometheus_client.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(open(sys.argv[1]).read()))
assert len({f.name for f in families}) == len(families)
for f in families:
    assert f.type in ('counter', 'gauge') and f.documentation and len(f.samples) == 1, f
    assert f.samples[0].labels['loop'] == 'loop' and f.samples[0].value >= 0, f
    assert f.samples[0].name == f.name + ('_total' if f.type == 'counter' else ''), f
print(len(families))
)";
  std::string quoted;  // for the shell
  for (const char letter : script) letter == '\'' ? quoted += "'\\''" : quoted += letter;
  const std::string command =
      "for python in python3 /usr/bin/python3; do"  // the distribution's packages are for its own
      " $python -c 'import prometheus_client' 2>/dev/null && exec $python -c '" +
      quoted + "' " + path + "; done 2>&1; exit 77";
  FILE* const pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string said;
  char piece[256];
  while (std::fgets(piece, sizeof piece, pipe) != nullptr) said += piece;
  const int status = ::pclose(pipe);
  ::unlink(path.c_str());
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "python3-prometheus-client is not installed";
  EXPECT_EQ(status, 0) << said;
  EXPECT_EQ(said, std::to_string(Metrics::table().size() + 1) + "\n");
}

TEST_P(MetricsServerTest, ServesPipelinedRequestsInOrder) {
  const Address where = serve();
  const auto body = [&]() -> Task<> {
    Stream stream = co_await connect(where);
    co_await stream.write(kGet + "GET /x HTTP/1.1\r\nHost: x\r\n\r\n" + kGet);
    Reply first = co_await read_reply(stream);
    EXPECT_TRUE(first.is(200));
    Reply second = co_await read_reply(stream);
    EXPECT_TRUE(second.is(404));
    Reply third = co_await read_reply(stream);
    EXPECT_TRUE(third.is(200));
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_P(MetricsServerTest, AddsFamiliesOfTheServicesOwn) {
  int calls = 0;
  MetricsOptions options;
  options.context = &calls;
  options.add = [](std::string& text, void* context) {
    text += "# TYPE my_calls counter\nmy_calls_total " +
            std::to_string(++*static_cast<int*>(context)) + "\n";
  };
  const Address where = serve(options);
  EXPECT_THAT(page(where), ::testing::EndsWith("my_calls_total 1\n"));
}

TEST_P(MetricsServerTest, ItsConnectionsAreBounded) {
  MetricsOptions options;
  options.connections_max = 2;
  const Address where = serve(options);
  const auto body = [&]() -> Task<> {
    std::vector<Stream> held;
    for (int i = 0; i < 2; ++i) {
      held.push_back(co_await connect(where));
      co_await held.back().write(kGet);
      co_await read_reply(held.back());
    }
    Stream third = co_await connect(where);
    co_await third.write(kGet);
    Result<Buf> early = co_await result(third.read({20ms}));
    EXPECT_EQ(early.error(), Errc::timed_out);
    EXPECT_EQ(metrics().accepted, 2u);  // the third is still the kernel's
    held.pop_back();
    Reply reply = co_await read_reply(third);
    EXPECT_TRUE(reply.is(200));
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_P(MetricsServerTest, ASlowRequestIsCutOff) {
  MetricsOptions options;
  options.timeout = 10ms;
  const Address where = serve(options);
  const auto body = [&]() -> Task<> {
    Stream stream = co_await connect(where);
    co_await stream.write("GET /met");
    Result<Buf> end = co_await result(stream.read({5s}));
    EXPECT_FALSE(end.ok() && !end->empty());
    EXPECT_NE(end.error(), Errc::timed_out);
  };
  EXPECT_TRUE(run(body).ok());
}

TEST_P(MetricsServerTest, EndsWithItsLoop) {
  const Address where = serve();
  const auto body = [&]() -> Task<> {
    Stream stream = co_await connect(where);
    co_await stream.write(kGet);
    co_await read_reply(stream);
  };
  EXPECT_TRUE(run(body).ok());
  auto ending = rig_->take();
  ::testing::internal::CaptureStderr();
  ending.reset();
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST_P(MetricsServerTest, APortInUseAndBoundsOfNothingAreErrors) {
  const Address where = serve();
  EXPECT_EQ(serve_metrics(loop(), where).error(), Errc::address_in_use);
  MetricsOptions options;
  options.connections_max = 0;
  EXPECT_EQ(serve_metrics(loop(), Address::loopback(0), options).error(), Errc::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(AllBackends, MetricsServerTest, ::testing::ValuesIn(kBackends),
                         backend_name);

}  // namespace
}  // namespace weir::test
