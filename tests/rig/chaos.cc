// Results are kept for a few polls and let go in an order across ops that the seed decides.
#include "tests/rig/chaos.h"

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <utility>

#include "tests/rig/decorator.h"

namespace weir::test {
namespace {

class Chaos final : public Decorator {
 public:
  Chaos(std::unique_ptr<Backend> inner, const BackendContext& context, std::string name,
        std::uint64_t seed)
      : Decorator(std::move(inner), context, std::move(name)), random_(seed) {
    caps_.completion = true;  // results come when they come: nobody can budget them
    caps_.multishot_accept = true;
    caps_.notes.push_back("chaos with seed " + std::to_string(seed));
  }

  Submitted submit(Op& op) override {
    shorten(op);
    const OpId id = op.id;
    Submitted submitted = inner_->submit(op);
    if (!submitted.done) return submitted;
    if (one_in(2)) {
      restore(id);
      return submitted;
    }
    keep(submitted.completion);
    return {};
  }

  void poll(std::uint64_t deadline_ns, Sink& sink) override {
    ++poll_count_;
    const std::uint64_t wait_until = kept_.empty() ? deadline_ns : 0;
    for (const Completion& completion : poll_inner(wait_until, sink.room())) keep(completion);
    let_go(sink);
  }

  void provide(Pool& group) override {
    if (blocks_.size() <= group.group()) blocks_.resize(group.group() + 1u);
    blocks_[group.group()] = group.block_bytes();
    inner_->provide(group);
  }

  bool pending_hint() const override { return !kept_.empty() || inner_->pending_hint(); }

 private:
  struct Kept {
    Completion completion;
    std::uint64_t not_before;  // the number of a poll
  };

  bool one_in(std::uint32_t n) { return random_() % n == 0; }

  // Asks the inner backend for less than the owner did; the owner's number is back before the owner sees the end.
  void shorten(Op& op) {
    std::uint32_t* bytes_max = nullptr;
    std::uint32_t whole = 0;
    if (op.kind == OpKind::recv) {
      auto& recv = static_cast<RecvOp&>(op);
      bytes_max = &recv.bytes_max;
      whole = recv.bytes_max;
      if (whole == 0) whole = recv.group < blocks_.size() ? blocks_[recv.group] : 0;
    } else if (op.kind == OpKind::send) {
      auto& send = static_cast<SendOp&>(op);
      bytes_max = &send.bytes_max;
      whole = send.bytes_max;
      if (!send.is_piece) {
        whole = static_cast<std::uint32_t>(send.chain->bytes());
        if (send.bytes_max != 0) whole = std::min(whole, send.bytes_max);
      }
    }
    if (whole < 2 || !one_in(3)) return;
    shortened_[op.id.value] = *bytes_max;
    *bytes_max = 1 + static_cast<std::uint32_t>(random_() % (whole - 1));
  }

  void restore(OpId id) {
    const auto found = shortened_.find(id.value);
    if (found == shortened_.end()) return;
    Op* op = context_.ops.find(id);
    if (op != nullptr && op->kind == OpKind::recv)
      static_cast<RecvOp*>(op)->bytes_max = found->second;
    if (op != nullptr && op->kind == OpKind::send)
      static_cast<SendOp*>(op)->bytes_max = found->second;
    shortened_.erase(found);
  }

  void keep(const Completion& completion) {
    std::deque<Kept>& queue = kept_[completion.id.value];
    const std::uint64_t not_before = poll_count_ + random_() % 4;
    queue.push_back({completion, not_before});
  }

  // One queue after another, chosen by the seed, gives up its oldest result until no queue has one that is due.
  void let_go(Sink& sink) {
    std::vector<std::uint64_t> due;
    for (const auto& [id, queue] : kept_) {
      if (queue.front().not_before <= poll_count_) due.push_back(id);
    }
    while (!due.empty()) {
      const std::size_t pick = random_() % due.size();
      std::deque<Kept>& queue = kept_.at(due[pick]);
      const Completion completion = queue.front().completion;
      queue.pop_front();
      if (completion.is_terminal()) restore(completion.id);
      sink.push(completion);
      if (!queue.empty() && queue.front().not_before <= poll_count_) continue;
      if (queue.empty()) kept_.erase(due[pick]);
      due[pick] = due.back();
      due.pop_back();
    }
  }

  std::mt19937_64 random_;
  std::uint64_t poll_count_ = 0;
  std::map<std::uint64_t, std::deque<Kept>> kept_;  // by op id; no queue is empty
  std::map<std::uint64_t, std::uint32_t> shortened_;
  std::vector<std::uint32_t> blocks_;  // by group: the size of one
};

Result<std::unique_ptr<Backend>> make_chaos(std::string_view variant,
                                            const BackendContext& context) {
  Result<Seeded> seeded = make_seeded(variant, context);
  if (!seeded.ok()) return seeded.error();
  return std::unique_ptr<Backend>(std::make_unique<Chaos>(std::move(seeded.value().inner), context,
                                                          "chaos:" + std::string(variant),
                                                          seeded.value().seed));
}

}  // namespace

void register_chaos() { register_backend("chaos", make_chaos); }

}  // namespace weir::test
