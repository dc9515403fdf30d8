// Sentence 3, for each kind of op at each point of its life: cancel before the kernel saw it, while it waits, when it has
// just become ready, after it ended, twice, in its own completion, and with an id whose op was submitted again.
#include <cerrno>

#include "tests/conformance/row.h"
#include "tests/conformance/scene.h"

namespace weir::test {
namespace {

template <Waits kind>
void before_the_kernel_saw_it(Rig& rig) {
  Scene scene(rig, kind);
  rig.submit(scene.op());
  rig.cancel(scene.op());
  ENDS_ONCE(rig, scene.op());
  DEMAND_EQ(rig, scene.op().result(), -ECANCELED);
}

template <Waits kind>
void while_pending(Rig& rig) {
  Scene scene(rig, kind);
  rig.submit(scene.op());
  rig.settle();
  DEMAND(rig, scene.op().is_pending());
  rig.cancel(scene.op());
  ENDS_ONCE(rig, scene.op());
  DEMAND_EQ(rig, scene.op().result(), -ECANCELED);
  DEMAND_EQ(rig, scene.op().completions().size(), 1u);
}

template <Waits kind>
void when_just_ready(Rig& rig) {
  Scene scene(rig, kind);
  rig.submit(scene.op());
  rig.settle();
  scene.make_ready();
  rig.cancel(scene.op());
  ENDS_ONCE(rig, scene.op());
  DEMAND(rig, scene.op().result() == -ECANCELED || scene.op().result() >= 0);
  scene.demand_conserved();
}

template <Waits kind>
void before_the_kernel_saw_it_when_ready(Rig& rig) {
  Scene scene(rig, kind);
  scene.make_ready();
  rig.submit(scene.op());
  rig.cancel(scene.op());
  ENDS_ONCE(rig, scene.op());
  scene.demand_conserved();
}

template <Waits kind>
void after_it_ended(Rig& rig) {
  Scene scene(rig, kind);
  scene.make_ready();
  rig.submit(scene.op());
  const OpId id = scene.op().op().id;
  AWAIT(rig, scene.op().is_done());
  rig.cancel(id);
  ENDS_ONCE(rig, scene.op());
  DEMAND(rig, scene.op().result() >= 0);
  scene.demand_conserved();
}

template <Waits kind>
void twice(Rig& rig) {
  Scene scene(rig, kind);
  rig.submit(scene.op());
  rig.settle();
  const OpId id = scene.op().op().id;
  rig.cancel(id);
  rig.cancel(id);
  rig.step();
  rig.cancel(id);
  ENDS_ONCE(rig, scene.op());
  DEMAND_EQ(rig, scene.op().result(), -ECANCELED);
}

template <Waits kind>
void in_its_own_completion(Rig& rig) {
  Scene scene(rig, kind);
  rig.submit(scene.op());
  rig.settle();
  const OpId id = scene.op().op().id;
  scene.op().on_completion = [&](const Completion&) { rig.cancel(id); };
  scene.make_ready();
  ENDS_ONCE(rig, scene.op());
  DEMAND(rig, scene.op().completions().front().result >= 0);
  scene.op().on_completion = nullptr;
  scene.demand_conserved();
}

template <Waits kind>
void an_id_of_an_earlier_submit(Rig& rig) {
  Scene scene(rig, kind);
  rig.submit(scene.op());
  const OpId stale = scene.op().op().id;
  rig.cancel(stale);
  AWAIT(rig, scene.op().is_done());
  rig.submit(scene.op());
  rig.cancel(stale);
  rig.settle();
  rig.cancel(stale);
  rig.settle();
  DEMAND(rig, scene.op().is_pending());
  DEMAND_EQ(rig, scene.op().terminal_count(), 0u);
  scene.make_ready();
  AWAIT(rig, !scene.op().completions().empty());
  DEMAND(rig, scene.op().completions().front().result >= 0);
  if (scene.is_multishot()) rig.cancel(scene.op());
  ENDS_ONCE(rig, scene.op());
  scene.demand_conserved();
}

// From its own completion, the way a stream reads on.
template <Waits kind>
void submitted_again_in_its_own_completion(Rig& rig) {
  Scene scene(rig, kind);
  bool is_again = false;
  scene.op().on_completion = [&](const Completion& completion) {
    if (completion.is_terminal() && !is_again) {
      is_again = true;
      rig.submit(scene.op());
    }
  };
  rig.submit(scene.op());
  rig.settle();
  rig.cancel(scene.op());
  AWAIT(rig, is_again);
  rig.settle();
  DEMAND(rig, scene.op().is_pending());
  scene.make_ready();
  AWAIT(rig, !scene.op().completions().empty());
  DEMAND(rig, scene.op().completions().front().result >= 0);
  if (scene.is_multishot()) rig.cancel(scene.op());
  ENDS_ONCE(rig, scene.op());
  scene.demand_conserved();
}

#define CANCEL_ROWS(kind, name)                                                        \
  Row{"Cancel" name "BeforeTheKernelSawIt", 3, before_the_kernel_saw_it<Waits::kind>}, \
      Row{"Cancel" name "WhilePending", 3, while_pending<Waits::kind>},                \
      Row{"Cancel" name "WhenJustReady", 3, when_just_ready<Waits::kind>},             \
      Row{"Cancel" name "BeforeTheKernelSawItWhenReady", 3,                            \
          before_the_kernel_saw_it_when_ready<Waits::kind>},                           \
      Row{"Cancel" name "Twice", 3, twice<Waits::kind>}, Row {                         \
    "Cancel" name "OfAnEarlierSubmit", 3, an_id_of_an_earlier_submit<Waits::kind>      \
  }

#define CANCEL_ROWS_WHEN_READY(kind, name)                                                         \
  Row{"Cancel" name "InItsOwnCompletion", 3, in_its_own_completion<Waits::kind>}, Row {            \
    "SubmitAgain" name "InItsOwnCompletion", 3, submitted_again_in_its_own_completion<Waits::kind> \
  }

const Row kRows[] = {
    CANCEL_ROWS(recv_memory, "Recv"),
    CANCEL_ROWS_WHEN_READY(recv_memory, "Recv"),
    Row{"CancelRecvAfterItEnded", 3, after_it_ended<Waits::recv_memory>},
    CANCEL_ROWS(recv_group, "GroupRecv"),
    CANCEL_ROWS_WHEN_READY(recv_group, "GroupRecv"),
    Row{"CancelGroupRecvAfterItEnded", 3, after_it_ended<Waits::recv_group>},
    CANCEL_ROWS(recv_multishot, "MultishotRecv"),
    CANCEL_ROWS_WHEN_READY(recv_multishot, "MultishotRecv"),
    CANCEL_ROWS(accept_once, "Accept"),
    CANCEL_ROWS_WHEN_READY(accept_once, "Accept"),
    Row{"CancelAcceptAfterItEnded", 3, after_it_ended<Waits::accept_once>},
    CANCEL_ROWS(accept_multishot, "MultishotAccept"),
    CANCEL_ROWS_WHEN_READY(accept_multishot, "MultishotAccept"),
    CANCEL_ROWS(send, "Send"),
    CANCEL_ROWS_WHEN_READY(send, "Send"),
    CANCEL_ROWS(recvmsg, "Recvmsg"),
    CANCEL_ROWS_WHEN_READY(recvmsg, "Recvmsg"),
    Row{"CancelRecvmsgAfterItEnded", 3, after_it_ended<Waits::recvmsg>},
    CANCEL_ROWS(poll, "Poll"),
    CANCEL_ROWS_WHEN_READY(poll, "Poll"),
    Row{"CancelPollAfterItEnded", 3, after_it_ended<Waits::poll>},
    CANCEL_ROWS(poll_multishot, "MultishotPoll"),
    Row{"CancelConnectBeforeTheKernelSawIt", 3, before_the_kernel_saw_it<Waits::connect>},
    Row{"CancelConnectWhilePending", 3, while_pending<Waits::connect>},
    Row{"CancelConnectWhenJustReady", 3, when_just_ready<Waits::connect>},
    Row{"CancelConnectTwice", 3, twice<Waits::connect>},
};

}  // namespace

std::span<const Row> cancel_rows() { return kRows; }

}  // namespace weir::test
