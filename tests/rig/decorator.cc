// Forwarding, and taking completions out of one sink to put them into another.
#include "tests/rig/decorator.h"

#include <charconv>
#include <utility>

namespace weir::test {

std::vector<Completion> CaptureSink::take() {
  std::vector<Completion> out;
  take(control_, out);
  take(data_, out);
  return out;
}

void CaptureSink::take(Queue& queue, std::vector<Completion>& out) {
  while (!queue.empty()) {
    out.push_back(queue.front());
    ++queue.head;
    Op* op = ops_.find(out.back().id);
    if (op != nullptr && op->undelivered > 0) --op->undelivered;  // The outer sink counts it again.
  }
}

Decorator::Decorator(std::unique_ptr<Backend> inner, const BackendContext& context,
                     std::string name)
    : inner_(std::move(inner)), context_(context), caps_(inner_->caps()), capture_(context.ops) {
  caps_.name = std::move(name);
}

std::vector<Completion> Decorator::poll_inner(std::uint64_t deadline_ns, std::uint32_t room) {
  capture_.set_room(room);
  inner_->poll(deadline_ns, capture_);
  return capture_.take();
}

void Decorator::poll(std::uint64_t deadline_ns, Sink& sink) {
  on_results(poll_inner(deadline_ns, sink.room()), sink);
}

void Decorator::on_results(std::vector<Completion> results, Sink& sink) {
  for (const Completion& completion : results) sink.push(completion);
}

Result<Seeded> make_seeded(std::string_view variant, const BackendContext& context) {
  const auto [text, inner_name] = split_name(variant);
  Seeded made;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), made.seed);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() ||
      inner_name.empty()) {
    return Error::of_value(Errc::invalid_argument, Operation::start, variant,
                           "a seed, a colon and a backend");
  }
  Result<ChosenBackend> inner = make_backend(inner_name, context);
  if (!inner.ok()) return inner.error();
  made.inner = std::move(inner.value().backend);
  return made;
}

std::pair<std::string_view, std::string_view> split_name(std::string_view name) {
  const std::size_t colon = name.find(':');
  if (colon == std::string_view::npos) return {name, {}};
  return {name.substr(0, colon), name.substr(colon + 1)};
}

}  // namespace weir::test
