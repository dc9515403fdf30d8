// Sentence 2: a backend calls nobody. The rig looks into the sink after every submit and cancel; these rows make sure
// that each kind of op is submitted when it could end at once, and cancelled when it has ended unseen.
#include <algorithm>

#include "tests/conformance/row.h"
#include "tests/conformance/scene.h"

namespace weir::test {
namespace {

template <Waits kind>
void submit_when_ready(Rig& rig) {
  rig.settle();
  Scene scene(rig, kind);
  scene.make_ready();
  rig.submit(scene.op());
  AWAIT(rig, !scene.op().completions().empty());
  if (scene.is_multishot()) rig.cancel(scene.op());
  ENDS_ONCE(rig, scene.op());
}

template <Waits kind>
void cancel_with_a_result_unseen(Rig& rig) {
  Scene scene(rig, kind);
  rig.submit(scene.op());
  rig.settle();
  scene.make_ready();
  static_cast<void>(rig.backend().pending_hint());
  rig.cancel(scene.op());
  ENDS_ONCE(rig, scene.op());
}

void cancel_of_an_unknown_id(Rig& rig) {
  Scene scene(rig, Waits::recv_multishot);
  rig.submit(scene.op());
  rig.settle();
  for (const OpKind kind :
       {OpKind::none, OpKind::recv, OpKind::accept, OpKind::close, OpKind::wake}) {
    rig.cancel(OpId::make(0xfffffffe, 1, kind));
    rig.cancel(OpId::make(scene.op().op().id.slot(), 0xabcdef, kind));
  }
  rig.settle();
  DEMAND(rig, scene.op().is_pending());
}

void every_kind_at_once(Rig& rig) {
  std::vector<std::unique_ptr<Scene>> scenes;
  for (const Waits kind :
       {Waits::recv_memory, Waits::recv_group, Waits::recv_multishot, Waits::accept_once,
        Waits::accept_multishot, Waits::send, Waits::recvmsg, Waits::poll, Waits::poll_multishot}) {
    scenes.push_back(std::make_unique<Scene>(rig, kind));
    rig.submit(scenes.back()->op());
  }
  rig.settle();
  for (const auto& scene : scenes) scene->make_ready();
  AWAIT(rig, std::all_of(scenes.begin(), scenes.end(),
                         [](const auto& scene) { return !scene->op().completions().empty(); }));
}

const Row kRows[] = {
    {"SubmitRecvWhenReady", 2, submit_when_ready<Waits::recv_memory>},
    {"SubmitGroupRecvWhenReady", 2, submit_when_ready<Waits::recv_group>},
    {"SubmitMultishotRecvWhenReady", 2, submit_when_ready<Waits::recv_multishot>},
    {"SubmitAcceptWhenReady", 2, submit_when_ready<Waits::accept_once>},
    {"SubmitMultishotAcceptWhenReady", 2, submit_when_ready<Waits::accept_multishot>},
    {"SubmitSendWhenReady", 2, submit_when_ready<Waits::send>},
    {"SubmitRecvmsgWhenReady", 2, submit_when_ready<Waits::recvmsg>},
    {"SubmitPollWhenReady", 2, submit_when_ready<Waits::poll>},
    {"SubmitMultishotPollWhenReady", 2, submit_when_ready<Waits::poll_multishot>},
    {"CancelRecvUnseen", 2, cancel_with_a_result_unseen<Waits::recv_memory>},
    {"CancelMultishotRecvUnseen", 2, cancel_with_a_result_unseen<Waits::recv_multishot>},
    {"CancelMultishotAcceptUnseen", 2, cancel_with_a_result_unseen<Waits::accept_multishot>},
    {"CancelPollUnseen", 2, cancel_with_a_result_unseen<Waits::poll>},
    {"CancelOfAnUnknownId", 2, cancel_of_an_unknown_id},
    {"EveryKindAtOnce", 2, every_kind_at_once},
};

}  // namespace

std::span<const Row> sink_rows() { return kRows; }

}  // namespace weir::test
