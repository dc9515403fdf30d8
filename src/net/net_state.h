// What the net layer keeps per loop: the records of streams and listeners, and the count of connections.
#pragma once
#include "src/loop/loop_core.h"
#include "src/loop/record_slab.h"
#include "src/net/listener_core.h"
#include "src/net/pair_core.h"
#include "src/net/socket_core.h"

namespace weir::inline v0 {

struct NetExtension final : LoopExtension {
  explicit NetExtension(LoopCore& loop_core);
  void on_shutdown() override;  // closes everything
  void describe(std::string& text) const override;
  static NetExtension& of(LoopCore& loop) {
    LoopExtension* const net = loop.extensions[static_cast<int>(Extension::net)].get();
    return net != nullptr ? static_cast<NetExtension&>(*net) : make(loop);
  }

  /// Streams that wait for bytes, and got none for more than `turns`, see the end of stream: an orderly stop.
  void end_idle_reads(std::uint16_t turns);
  /// Not where the kernel copies after all, as it does on loopback: then it only costs a second completion.
  bool is_zero_copy_worth_it() const {
    const std::uint64_t copied = loop.metrics.zero_copy_copied;
    return copied < 64 || copied * 2 < loop.metrics.zero_copy_sends;
  }
  bool has_room() const { return loop.metrics.connections < loop.limits.connections_max; }
  void connection_opened() { ++loop.metrics.connections; }
  void connection_closed();  // listeners that wait for room go on

  LoopCore& loop;
  mutable RecordSlab<SocketCore> sockets;
  mutable RecordSlab<PairCore> pairs;
  mutable RecordSlab<ListenerCore> listeners;
  RecordSlab<ConnectRecord> connects;
  RecordSlab<StreamCore::Aside> asides;
  std::uint32_t next_generation = 1;  // of loan accounts
  void stop_waiting(ListenerCore& listener);
  ListenerCore* waiting_listeners = nullptr;

 private:
  static NetExtension& make(LoopCore& loop);
};

}  // namespace weir::inline v0
