// When descriptors run out: the error reaches the accept, the connection stays queued in the kernel, and it is accepted
// once there is a descriptor again.
#include <cerrno>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

template <bool is_multishot>
void no_descriptor_for_an_accept(Rig& rig) {
  const Handle listener = rig.listen();
  auto& accept = rig.accept(listener, is_multishot);
  Peer peer = Peer::connect(rig.local_address(listener));
  DEMAND(rig, peer.is_open());
  {
    const NoDescriptors none;
    rig.submit(accept);
    AWAIT(rig, accept.is_done());
    rig.settle();
  }
  DEMAND_EQ(rig, accept.result(), -EMFILE);
  DEMAND_EQ(rig, accept.accepted.size(), 0u);
  rig.submit(accept);
  AWAIT(rig, accept.accepted.size() == 1);
  peer.send(100);
  auto& recv = rig.recv_group(accept.accepted[0], false);
  rig.submit(recv);
  AWAIT(rig, recv.is_done());
  DEMAND_EQ(rig, recv.bytes, pattern(0, 100));
}

// Armed before the descriptors ran out.
void an_armed_accept(Rig& rig) {
  const Handle listener = rig.listen();
  const Address address = rig.local_address(listener);
  auto& accept = rig.accept(listener);
  rig.submit(accept);
  rig.settle();
  std::vector<Peer> peers;
  for (int i = 0; i < 3; ++i) peers.push_back(Peer::connect(address));
  {
    const NoDescriptors none;
    rig.settle();
    // Whether it noticed is the system's affair (a limit may be read when the op is prepared); it must not spin or lose.
  }
  AWAIT(rig, [&] {
    if (accept.is_done() && accept.result() == -EMFILE) rig.submit(accept);
    return accept.accepted.size() == peers.size();
  }());
}

void no_descriptor_for_open(Rig& rig) {
  {
    const NoDescriptors none;
    const Result<Handle> handle = rig.backend().open({});
    DEMAND(rig, !handle.ok());
    DEMAND(rig, handle.error() == Errc::too_many_open_files);
  }
  DEMAND(rig, rig.open({}).valid());
}

const Row kRows[] = {
    {"NoDescriptorForAnAccept", 0, no_descriptor_for_an_accept<false>},
    {"NoDescriptorForAMultishotAccept", 0, no_descriptor_for_an_accept<true>},
    {"NoDescriptorForAnArmedAccept", 0, an_armed_accept},
    {"NoDescriptorForOpen", 0, no_descriptor_for_open},
};

}  // namespace

std::span<const Row> exhaustion_rows() { return kRows; }

}  // namespace weir::test
