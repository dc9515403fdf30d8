// Sentence 9: at the end everything is cancelled and pumped; every op has its terminal, and no memory stays out.
// Rig::finish does that after each row; here there is much to end.
#include <cerrno>
#include <memory>

#include "tests/conformance/row.h"
#include "tests/conformance/scene.h"

namespace weir::test {
namespace {

constexpr Waits kAllKinds[] = {
    Waits::recv_memory,      Waits::recv_group, Waits::recv_multishot, Waits::accept_once,
    Waits::accept_multishot, Waits::send,       Waits::recvmsg,        Waits::poll,
    Waits::poll_multishot};

void cancel_all_ends_all(Rig& rig) {
  std::vector<std::unique_ptr<Scene>> scenes;
  for (int round = 0; round < 10; ++round) {
    for (const Waits kind : kAllKinds) {
      scenes.push_back(std::make_unique<Scene>(rig, kind));
      rig.submit(scenes.back()->op());
    }
    if (round % 2 == 0) rig.settle();  // half of them the kernel has not seen
  }
  for (const auto& scene : scenes) rig.cancel(scene->op());
  AWAIT(rig, rig.pending_count() == 0);
  rig.settle();
  for (const auto& scene : scenes) {
    DEMAND_EQ(rig, scene->op().terminal_count(), 1u);
    DEMAND_EQ(rig, scene->op().result(), -ECANCELED);
  }
}

// Everything becomes ready in the moment in which everything is cancelled.
void cancel_all_when_all_is_ready(Rig& rig) {
  std::vector<std::unique_ptr<Scene>> scenes;
  for (const Waits kind : kAllKinds) {
    scenes.push_back(std::make_unique<Scene>(rig, kind));
    rig.submit(scenes.back()->op());
  }
  rig.settle();
  for (const auto& scene : scenes) scene->make_ready();
  for (const auto& scene : scenes) rig.cancel(scene->op());
  AWAIT(rig, rig.pending_count() == 0);
  rig.settle();
  for (const auto& scene : scenes) DEMAND_EQ(rig, scene->op().terminal_count(), 1u);
}

// The rig's own end does the rest: cancel, pump, close, and nothing is out.
void left_to_the_end(Rig& rig) {
  for (const Waits kind : kAllKinds) {
    Scene scene(rig, kind);
    rig.submit(scene.op());
    if (kind == Waits::poll ||
        kind == Waits::poll_multishot) {  // its descriptor ends with the scene
      rig.cancel(scene.op());
      AWAIT(rig, !scene.op().is_pending());
      auto& close = rig.close(scene.handle());
      rig.submit(close);
      AWAIT(rig, close.is_done());
    }
  }
}

void received_blocks_unseen(Rig& rig) {
  std::vector<Peer> peers(8);
  for (Peer& peer : peers) {
    rig.submit(rig.recv_group(rig.connected(peer), true));
    peer.send(20'000);
  }
}

const Row kRows[] = {
    {"CancelAllEndsAll", 9, cancel_all_ends_all},
    {"CancelAllWhenAllIsReady", 9, cancel_all_when_all_is_ready},
    {"LeftToTheEnd", 9, left_to_the_end},
    {"ReceivedBlocksUnseen", 9, received_blocks_unseen},
};

}  // namespace

std::span<const Row> end_rows() { return kRows; }

}  // namespace weir::test
