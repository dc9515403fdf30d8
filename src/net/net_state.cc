// The net layer's part of a loop: made at the first socket, ended with the loop.
#include "src/net/net_state.h"

#include <cstdio>

namespace weir::inline v0 {

NetExtension::NetExtension(LoopCore& loop_core) : loop(loop_core) {
  loop.ledger.set_connection_of([](const LoanAccount& account) {
    const Handle handle = static_cast<const StreamCore&>(account).handle();
    return handle.valid() ? handle.value : Ledger::kNoConnection;
  });
  loop.set_direct(&SocketCore::on_bytes, &SocketCore::on_run, &SocketCore::on_sent_at_once);
  for (Pool* pool : {loop.group.get(), loop.small_pool.get()}) {  // copy-break charges small blocks
    pool->set_on_loan_return(
        [](LoanAccount& account) { static_cast<StreamCore&>(account).on_loan_return(); });
  }
}

NetExtension& NetExtension::make(LoopCore& loop) {
  auto& slot = loop.extensions[static_cast<int>(Extension::net)];
  slot = std::make_unique<NetExtension>(loop);
  return static_cast<NetExtension&>(*slot);
}

void NetExtension::connection_closed() {
  --loop.metrics.connections;
  while (waiting_listeners != nullptr) {
    ListenerCore* const listener = waiting_listeners;
    waiting_listeners = listener->next_waiting;
    listener->go_on();
    if (!has_room()) break;
  }
}

void NetExtension::stop_waiting(ListenerCore& listener) {
  for (ListenerCore** at = &waiting_listeners; *at != nullptr; at = &(*at)->next_waiting) {
    if (*at != &listener) continue;
    *at = listener.next_waiting;
    return;
  }
}

void NetExtension::end_idle_reads(std::uint16_t turns) {
  sockets.for_each([=](SocketCore& core) { core.end_if_idle(turns); });
  pairs.for_each([=](PairCore& core) { core.end_if_idle(turns); });
}

void NetExtension::on_shutdown() {
  const Error stopped = Error::of(Errc::stopped, Operation::run);
  sockets.for_each([&](SocketCore& core) { core.close(stopped, false); });
  pairs.for_each([&](PairCore& core) { core.close(stopped, false); });
}

void NetExtension::describe(std::string& text) const {
  sockets.for_each([&](SocketCore& core) {
    char line[160];
    std::snprintf(line, sizeof line, "connection %u: %zu bytes queued, %u bytes loaned%s\n",
                  core.handle().value, core.queued_bytes(), core.loaned_bytes,
                  core.is_closing() ? ", closing" : "");
    text += line;
  });
}

}  // namespace weir::inline v0
