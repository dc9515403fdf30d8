// An op that fails here is not given to the inner backend at all; one that ends early is cancelled there.
#include "tests/rig/faulty.h"

#include <cerrno>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "tests/rig/decorator.h"

namespace weir::test {
namespace {

std::span<const std::int32_t> errors_of(OpKind kind) {
  static constexpr std::int32_t kAccept[] = {-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM};
  static constexpr std::int32_t kConnect[] = {-ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH};
  static constexpr std::int32_t kRecv[] = {-ENOBUFS, -ENOBUFS, -ENOBUFS, -ECONNRESET, -ENOMEM};
  static constexpr std::int32_t kSend[] = {-ECONNRESET, -EPIPE, -ENOBUFS, -ENOMEM};
  switch (kind) {
    case OpKind::accept: return kAccept;
    case OpKind::connect: return kConnect;
    case OpKind::recv: return kRecv;
    case OpKind::send: return kSend;
    default: return {};
  }
}

class Faulty final : public Decorator {
 public:
  Faulty(std::unique_ptr<Backend> inner, const BackendContext& context, std::string name,
         std::uint64_t seed)
      : Decorator(std::move(inner), context, std::move(name)), random_(seed) {}

  Submitted submit(Op& op) override {
    const std::span<const std::int32_t> errors = errors_of(op.kind);
    if (errors.empty() || random_() % 25 != 0) return inner_->submit(op);
    const Completion failed{.id = op.id, .result = errors[random_() % errors.size()]};
    if (!op.multishot && random_() % 2 == 0) return {.done = true, .completion = failed};
    failed_.push_back(failed);
    return {};
  }

  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    const std::vector<Completion> failed = std::exchange(failed_, {});
    for (const Completion& completion : failed) sink.push(completion);
    Decorator::poll(failed.empty() ? deadline_ns : 0, sink);
  }

  bool pending_hint() const override { return !failed_.empty() || inner_->pending_hint(); }

 private:
  // A multishot that has just told something may end by itself, as if memory had run out.
  void on_results(std::vector<Completion> results, Sink& sink) override {
    for (Completion completion : results) {
      const bool was_ended_here = ended_early_.erase(completion.id.value) != 0;
      if (was_ended_here && completion.result == -ECANCELED) completion.result = -ENOBUFS;
      if (!completion.is_terminal() && (was_ended_here || random_() % 16 == 0)) {
        ended_early_.insert(completion.id.value);
        inner_->cancel(completion.id);
      }
      sink.push(completion);
    }
  }

  std::mt19937_64 random_;
  std::vector<Completion> failed_;
  std::set<std::uint64_t> ended_early_;
};

Result<std::unique_ptr<Backend>> make_faulty(std::string_view variant,
                                             const BackendContext& context) {
  Result<Seeded> seeded = make_seeded(variant, context);
  if (!seeded.ok()) return seeded.error();
  return std::unique_ptr<Backend>(std::make_unique<Faulty>(std::move(seeded.value().inner), context,
                                                           "faulty:" + std::string(variant),
                                                           seeded.value().seed));
}

}  // namespace

void register_faulty() { register_backend("faulty", make_faulty); }

}  // namespace weir::test
