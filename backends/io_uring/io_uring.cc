// Making and ending the backend: variants, setup, groups, and what caps() tells.
#include "backends/io_uring/io_uring.h"

#include <cerrno>

#include "backends/io_uring/self_test.h"
#include "src/os/linux/epoll.h"
#include "src/os/os.h"

namespace weir::inline v0 {
namespace {

struct Variant {
  std::string_view variant;
  const char* name;
  uring::Kernel mask;
};
constexpr Variant kVariants[] = {
    {"", "io_uring", uring::kNewestKernel},
    {"6.1", "io_uring:6.1", 601},
    {"5.10", "io_uring:5.10", 510},
};

}  // namespace

Result<std::unique_ptr<Backend>> make_io_uring_backend(std::string_view variant,
                                                       const BackendContext& context) {
  for (const Variant& row : kVariants) {
    if (row.variant == variant) return uring::IoUring::make(row.name, row.mask, context);
  }
  return Error::of_value(Errc::invalid_argument, Operation::open, variant,
                         "io_uring, io_uring:6.1 or io_uring:5.10");
}

namespace uring {
namespace {

constexpr std::uint64_t kLingerNs = 50'000'000;  // at the end, for zero-copy sends under way

// What to tell those who asked for io_uring and cannot have it.
const char* reason_of(int native) {
  switch (native) {
    case EPERM:
    case EACCES: return "leave to use io_uring (seccomp and kernel.io_uring_disabled forbid it)";
    case ENOSYS: return "a kernel with io_uring";
    case ENOMEM: return "more locked memory (ulimit -l) for the ring";
    case EINVAL: return "a kernel whose io_uring is 5.10 or later";
    case EMFILE:
    case ENFILE: return "a free descriptor for the ring";
    default: return "a working io_uring";
  }
}

}  // namespace

Result<std::unique_ptr<Backend>> IoUring::make(const char* name, Kernel mask,
                                               const BackendContext& context,
                                               unsigned submissions) {
  std::unique_ptr<IoUring> backend(new IoUring(name, context, submissions));
  const int result = backend->start(mask, submissions);
  if (result == 0) return std::unique_ptr<Backend>(std::move(backend));
  Error error = Error::of_value(Errc::unavailable, Operation::open, name, reason_of(-result));
  error.native = -result;
  return error;
}

IoUring::IoUring(const char* name, const BackendContext& context, unsigned submissions)
    : context_(context), scratch_(submissions) {
  caps_.name = name;
}

int IoUring::start(Kernel mask, unsigned submissions) {
  if (const int result = ring_.open(mask, submissions); result < 0) return result;
  Features& features = ring_.features();
  if (!features.has_opcode(IORING_OP_SEND) || features.kernel < 509) return -EINVAL;
  const std::int64_t event = os::event_open();
  if (event < 0) return static_cast<int>(event);
  event_ = static_cast<int>(event);
  std::vector<std::string> tested = self_test(features, mask);
  caps_.completion = true;
  caps_.wait_handle = true;
  caps_.multishot_accept = features.has(Use::accept_multishot);
  caps_.multishot_recv = features.has(Use::recv_multishot) && features.has(Use::buffer_ring);
  caps_.zero_copy_send = features.has_opcode(IORING_OP_SEND_ZC);
  quiet_max_ = features.has(Use::skip_success) ? submissions : 0;
  quiet_sends_ = std::make_unique_for_overwrite<QuietSend[]>(quiet_max_);
  if (features.has(Use::send_waitall)) {
    send_flags_ |= MSG_WAITALL;
    ring_.counters().count(Use::send_waitall);
  }
  notes_.push_back(
      "kernel: " + name_of_kernel(features.found) + " or later" +
      (features.kernel < features.found ? ", used as " + name_of_kernel(features.kernel) : ""));
  notes_.insert(notes_.end(), tested.begin(), tested.end());
  make_table();
  notes_.push_back("setup: " + describe_flags(setup_flag_table(), ring_.counters().setup_flags));
  return 0;
}

IoUring::~IoUring() {
  drain();
  active_groups_.clear();
  groups_.clear();
  for (const Socket& left :
       sockets_) {  // what the loop did not close; with an op in flight it is leaked
    const bool has_descriptor = left.fd >= 0 && left.is_owned && !left.is_direct();
    if (has_descriptor && left.in_flight == 0) os::close(left.fd);
  }
  if (event_ >= 0) os::close(event_);
}

const Caps& IoUring::caps() const {
  const Counters& counters = ring_.counters();
  caps_.notes = notes_;
  caps_.notes.push_back("opcodes: " + describe_counts(opcode_table(), counters.opcodes));
  caps_.notes.push_back("used: " + describe_counts(use_table(), counters.uses));
  return caps_;
}

void IoUring::provide(Pool& group) {
  const GroupId id = group.group();
  WEIR_CHECK_NE(id, kNoGroup);
  if (id >= groups_.size()) groups_.resize(std::size_t{id} + 1);
  WEIR_CHECK(groups_[id] == nullptr);  // once a group
  groups_[id] = std::make_unique<ReceiveGroup>(group);
  active_groups_.push_back(groups_[id].get());
  if (!ring_.features().has(Use::buffer_ring)) return;
  if (const int result = groups_[id]->open(ring_.native()); result < 0) {
    notes_.push_back("buffer ring of group " + std::to_string(id) + ": refused, errno " +
                     std::to_string(-result));
  }
}

void IoUring::refilled(Pool& group) {
  static_cast<void>(group);
}  // poll() looks at starved groups by itself

// The loop has cancelled and pumped its ops; what is still with the kernel is cancelled here, so that nothing writes
// into memory that somebody else gets next. A request that cannot be cancelled at once stays behind.
void IoUring::drain() {
  if (!ring_.is_started() || !ring_.has_room(2)) return;
  constexpr int kRoundsMax = 8;
  if (ring_.features().has(Use::cancel_any)) {
    io_uring_sqe& entry = ring_.next();
    io_uring_prep_cancel64(&entry, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    entry.user_data = internal_id(0, 0, kOwnCancel).value;
    ring_.counters().count(Use::cancel_any);
  } else {
    static_cast<void>(
        prepare_cancel({internal_id(0, 0, kWakeEvent).value, internal_id(0, 0, kOwnCancel).value}));
  }
  for (int round = 0; is_wake_armed_ && round < kRoundsMax; ++round) {
    enter(0, kNever);
    ring_.reap([this](const io_uring_cqe& cqe) { take_home(cqe); });
  }
  // What was sent without a copy comes home once the peer has it, so mostly at once.
  const std::uint64_t until_ns = os::now_ns() + kLingerNs;
  while (records_.zero_copies.in_use() > 0 && os::now_ns() < until_ns) {
    enter(1, until_ns);
    ring_.reap([this](const io_uring_cqe& cqe) { take_home(cqe); });
  }
}

// A completion that nobody waits for any more: its memory and its descriptor go home.
void IoUring::take_home(const io_uring_cqe& cqe) {
  const OpId id{cqe.user_data};
  switch (static_cast<std::uint8_t>(id.kind())) {
    case kWakeEvent: is_wake_armed_ = (cqe.flags & IORING_CQE_F_MORE) != 0; break;
    case kZeroCopy:
      if ((cqe.flags & IORING_CQE_F_NOTIF) != 0) forget_zero_copy(id.slot());
      break;
    case static_cast<std::uint8_t>(OpKind::accept):
    case static_cast<std::uint8_t>(OpKind::recv): drop_stale(id, cqe); break;
    default: break;
  }
}

}  // namespace uring
}  // namespace weir::inline v0
