// Where results wait for their delivery. Path: Backend::poll -> Sink::push -> Loop::deliver -> Op::on_complete.
#include "weir/backend.h"

namespace weir::inline v0 {
namespace {

// Control goes before posted callbacks and data. A cancelled op is control only when nothing of it still waits as
// data: its terminal must not overtake its bytes.
bool is_control(const Op& op, const Completion& completion) {
  if (!completion.is_terminal() || op.undelivered != 0) return false;
  switch (completion.id.kind()) {
    case OpKind::wake:
    case OpKind::nop:
    case OpKind::close: return true;
    default: return completion.result == -static_cast<std::int32_t>(Errc::cancelled);
  }
}

}  // namespace

void Sink::push(Op& op, const Completion& completion) {
  if (is_control(op, completion)) {
    ++op.undelivered;
    has_queued_ = true;
    control_.push(completion);
  } else {
    add_data(op) = completion;
  }
}

void Sink::push(const Completion& completion) {
  if (completion.has(kNotif)) {  // its op has ended, and may be in flight again
    has_queued_ = true;
    return data_.push(completion);
  }
  Op* op = ops_.find(completion.id);
  if (op == nullptr) return on_unowned(completion);
  push(*op, completion);
}

void Sink::queue_received(RecvOp& op, const Block& block, std::uint32_t length) {
  add_data(op) = {.id = op.id,
                  .result = static_cast<std::int32_t>(length),
                  .flags = kBuf | kMore,
                  .group = op.group,
                  .buffer = block.index,
                  .length = length};
}

void Sink::queue_sent(SendOp& op, std::uint32_t bytes) {
  add_data(op) = {.id = op.id, .result = static_cast<std::int32_t>(bytes)};
}

void Sink::Queue::grow() {
  CountedVector<Completion> larger(slots.size() * 2);
  const std::uint32_t count = size();
  for (std::uint32_t i = 0; i < count; ++i) larger[i] = slots[(head + i) & mask];
  slots = std::move(larger);
  mask = mask * 2 + 1;
  head = 0;
  tail = count;
}

}  // namespace weir::inline v0
