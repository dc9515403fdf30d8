// The Prometheus endpoint: an HTTP/1.1 server that knows two methods and one page. Requests are read strictly and whole,
// within a bound of bytes and time, and their bodies never: a request that has one is the last of its connection.
#include "weir/metrics_server.h"

#include <algorithm>
#include <cctype>
#include <cinttypes>
#include <cstdio>
#include <memory>

#include "src/loop/loop_core.h"
#include "weir/combine.h"
#include "weir/listener.h"
#include "weir/offload.h"
#include "weir/scope.h"
#include "weir/stream.h"
#include "weir/version.h"

namespace weir::inline v0 {

namespace {

constexpr std::string_view kFormat = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::size_t kRestBytesMax = 64 << 10;  // of a body that nobody reads
constexpr Duration kRestTimeout = std::chrono::seconds(1);
constexpr std::string_view kPlain = "text/plain; charset=utf-8";

std::string label_of(std::string_view loop_name) {
  std::string text = "{loop=\"";
  for (const char letter : loop_name) {
    if (letter == '\\' || letter == '"') text += '\\';
    letter == '\n' ? text += "\\n" : text += letter;
  }
  return text + "\"}";
}

void append_family(std::string& text, const MetricInfo& info, std::uint64_t value,
                   const std::string& label) {
  constexpr std::string_view kNs = "_ns";
  std::string name = std::string("weir_") + info.name;
  char number[32];
  std::snprintf(number, sizeof number, "%" PRIu64, value);
  std::string help = info.help;
  if (name.ends_with(kNs)) {
    name.replace(name.size() - kNs.size(), kNs.size(), "_seconds");
    std::snprintf(number, sizeof number, "%" PRIu64 ".%09" PRIu64, value / 1'000'000'000,
                  value % 1'000'000'000);
    constexpr std::string_view kUnit = "nanoseconds";
    if (const std::size_t at = help.find(kUnit); at != std::string::npos)
      help.replace(at, kUnit.size(), "seconds");
  }
  if (!info.is_gauge) name += "_total";
  text.append("# HELP ").append(name).append(" ").append(help).append("\n");
  text.append("# TYPE ").append(name).append(info.is_gauge ? " gauge\n" : " counter\n");
  text.append(name).append(label).append(" ").append(number).append("\n");
}

bool is_same_text(std::string_view one, std::string_view other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(), [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) ==
           std::tolower(static_cast<unsigned char>(b));
  });
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char letter) {
    return std::isalnum(static_cast<unsigned char>(letter)) != 0 ||
           std::string_view("!#$%&'*+-.^_`|~").find(letter) != std::string_view::npos;
  });
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

/// A request's head: what to answer, and whether the connection goes on.
struct Request {
  int status = 200;
  bool is_head = false;
  bool keeps_alive = false;
};

// The path of "/path?query" or of "http://host/path?query"; empty for anything else.
std::string_view path_of(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  if (is_same_text(target.substr(0, kScheme.size()), kScheme)) {
    const std::size_t slash = target.find('/', kScheme.size());
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  if (target.empty() || target.front() != '/') return {};
  return target.substr(0, target.find('?'));
}

// One "name: value" line. False when it is none, or what two servers may read differently.
bool read_header(std::string_view line, Request& request, int& host_count) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return false;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) return false;
  if (is_same_text(name, "host")) ++host_count;
  const bool has_body = is_same_text(name, "transfer-encoding") ||
                        (is_same_text(name, "content-length") && value != "0");
  const bool closes = is_same_text(name, "connection") && !is_same_text(value, "keep-alive");
  if (has_body || closes) request.keeps_alive = false;
  return true;
}

// `head` ends with an empty line.
Request read_request(std::string_view head) {
  constexpr std::string_view kEnd = "\r\n";
  const Request bad{.status = 400};
  const auto next_line = [&] {
    const std::size_t end = head.find(kEnd);
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + kEnd.size());
    return line;
  };
  const std::string_view first = next_line();
  const std::size_t space = first.find(' ');
  const std::size_t last_space = first.rfind(' ');
  if (space == std::string_view::npos || last_space == space) return bad;
  const std::string_view method = first.substr(0, space);
  const std::string_view target = first.substr(space + 1, last_space - space - 1);
  const std::string_view version = first.substr(last_space + 1);
  const bool is_clean = std::all_of(target.begin(), target.end(),
                                    [](char letter) { return letter > ' ' && letter < '\x7f'; });
  if (!is_token(method) || target.empty() || !is_clean || !version.starts_with("HTTP/")) return bad;
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return {.status = 505};
  Request request;
  request.is_head = method == "HEAD";
  request.keeps_alive = version == "HTTP/1.1";
  int host_count = 0;
  while (head != kEnd) {
    if (!read_header(next_line(), request, host_count)) return bad;
  }
  if (host_count > 1 || (host_count == 0 && version == "HTTP/1.1")) return bad;
  if (path_of(target) != "/metrics") {
    request.status = 404;
  } else if (method != "GET" && method != "HEAD") {
    request.status = 405;
  }
  return request;
}

std::string_view reason_of(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 431: return "Request Header Fields Too Large";
    default: return "HTTP Version Not Supported";
  }
}

/// The endpoint of one loop; its task owns it.
struct Endpoint {
  Loop& loop;
  MetricsOptions options;

  std::string page() const;
  std::string answer(const Request& request) const;
  Task<> serve_connection(Stream peer) const;
};

std::string Endpoint::page() const {
  std::string text = prometheus_text(loop.metrics(), loop.core().name());
  text.append("# HELP weir_info the version of weir, and the backend of the loop\n");
  text.append("# TYPE weir_info gauge\n");
  std::string label = label_of(loop.core().name());
  label.pop_back();
  text.append("weir_info").append(label).append(",version=\"").append(version());
  text.append("\",backend=\"").append(loop.caps().name).append("\"} 1\n");
  if (options.add != nullptr) options.add(text, options.context);
  return text;
}

std::string Endpoint::answer(const Request& request) const {
  std::string body = request.status == 200 ? page() : std::string(reason_of(request.status)) + "\n";
  std::string text = "HTTP/1.1 " + std::to_string(request.status) + " ";
  text.append(reason_of(request.status)).append("\r\nContent-Type: ");
  text.append(request.status == 200 ? kFormat : kPlain);
  text.append("\r\nContent-Length: ").append(std::to_string(body.size())).append("\r\n");
  if (request.status == 405) text.append("Allow: GET, HEAD\r\n");
  if (!request.keeps_alive) text.append("Connection: close\r\n");
  text.append("\r\n");
  if (!request.is_head) text.append(body);
  return text;
}

Task<> send(Stream& peer, std::string_view text, bool is_last) {
  co_await peer.write(text);
  if (is_last) co_await peer.finish();
}

// A close with bytes unread would reset the connection, and with it the answer on its way.
Task<> read_rest(Stream& peer) {
  for (std::size_t left_bytes = kRestBytesMax;;) {
    Buf bytes = co_await peer.read({kRestTimeout});
    if (bytes.empty() || bytes.size() > left_bytes) co_return;
    left_bytes -= bytes.size();
  }
}

// What a client did wrong, or that it went away, is its own business: it ends the connection and nobody is told.
Task<> Endpoint::serve_connection(Stream peer) const {
  peer.unref();
  Request request{.keeps_alive = true};
  while (request.keeps_alive) {
    Result<Buf> head =
        co_await result(peer.read_until("\r\n\r\n", options.request_bytes_max, {options.timeout}));
    if (!head.ok() && head.error() != Errc::message_too_long) co_return;
    request = head.ok() ? read_request(head->text()) : Request{.status = 431};
    const std::string text = answer(request);
    co_await with_deadline(send(peer, text, !request.keeps_alive), options.timeout);
  }
  co_await read_rest(peer);
}

Task<> accept_scrapes(Listener listener, std::unique_ptr<Endpoint> endpoint) {
  ScopeOptions options;
  options.max_count = endpoint->options.connections_max;
  options.on_error = [](const Failure&, void*) {};
  Scope connections(options);
  for (;;) {
    co_await connections.has_room();
    listener.resume();
    Stream peer = co_await listener.accept();
    listener.pause();  // else it takes some more in advance
    connections.spawn(endpoint->serve_connection(std::move(peer)), "metrics");
  }
}

}  // namespace

std::string prometheus_text(const Metrics& metrics, std::string_view loop_name) {
  const std::string label = label_of(loop_name);
  std::string text;
  for (const MetricInfo& info : Metrics::table())
    append_family(text, info, metrics.*info.value, label);
  return text;
}

Result<Address> serve_metrics(Loop& loop, const Address& address, const MetricsOptions& options) {
  if (options.connections_max == 0 || options.request_bytes_max == 0) {
    return Error::of_value(Errc::invalid_argument, Operation::start, "0",
                           "connections_max and request_bytes_max of 1 or more");
  }
  ListenOptions listening;
  listening.backlog = static_cast<std::int32_t>(std::min(options.connections_max, 1024u));
  Result<Listener> listener = Listener::listen(loop, address, listening);
  if (!listener.ok()) return listener.error();
  const Address bound = listener->local_address();
  listener->unref();
  auto endpoint = std::make_unique<Endpoint>(Endpoint{loop, options});
  loop.spawn(accept_scrapes(std::move(*listener), std::move(endpoint)), "metrics");
  return bound;
}

}  // namespace weir::inline v0
