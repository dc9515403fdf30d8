// One step: poll, then every end looks at its ops, takes what came and submits what is next.
#include "tests/fault/echo.h"

#include <algorithm>
#include <cerrno>

namespace weir::test {

struct Echo::End {
  std::string name;
  Handle handle;
  std::uint16_t port = 0;  // the client's: both ends of a connection know it
  Tracked<ConnectOp>* connect = nullptr;
  Tracked<RecvOp>* recv = nullptr;
  Tracked<SendOp>* send = nullptr;
  Tracked<ShutdownOp>* shutdown = nullptr;
  Tracked<CloseOp>* close = nullptr;
  std::size_t trimmed_bytes = 0;
  std::size_t queued_bytes = 0;  // of a server's recv->bytes: those that went into its chain
  std::int32_t error = 0;        // the first that reached this end
  bool is_eof = false;

  bool is_idle() const {
    return !recv->is_pending() && !send->is_pending() &&
           (connect == nullptr || !connect->is_pending()) &&
           (shutdown == nullptr || !shutdown->is_pending());
  }
  bool is_closed() const { return close != nullptr && close->is_done(); }
};

Echo::Echo(Rig& rig, const EchoOptions& options)
    : rig_(rig), options_(options), listener_(rig.listen()) {}
Echo::~Echo() = default;

void Echo::run() {
  if (!listener_.valid()) return;
  accept_ = &rig_.accept(listener_);
  for (std::size_t i = 0; i < options_.clients; ++i) start_client(i);
  rig_.run_until("every end is closed", [&] {
    take_accepted();
    for (const auto& end : clients_) advance(*end);
    for (const auto& end : servers_) advance(*end);
    return is_over();
  });
  if (!rig_.has_failed()) settle_accounts();
}

std::unique_ptr<Echo::End> Echo::make_end(Handle handle, std::size_t number) {
  auto end = std::make_unique<End>();
  end->handle = handle;
  switch (static_cast<Receives>(number % 3)) {
    case Receives::memory: end->recv = &rig_.recv(handle, 3000); break;
    case Receives::group: end->recv = &rig_.recv_group(handle, false); break;
    case Receives::multishot: end->recv = &rig_.recv_group(handle, true); break;
  }
  end->send = &rig_.make<SendOp>(OpKind::send, handle);
  end->send->chain = &end->send->outgoing;
  return end;
}

// A client that cannot open its socket has been told so, and is no client.
void Echo::start_client(std::size_t number) {
  Result<Handle> handle = rig_.backend().open({});
  if (!handle.ok()) {
    rig_.demand(options_.errors_allowed, "open: " + handle.error().to_string(), __FILE__, __LINE__);
    ++refused_count_;
    return;
  }
  rig_.own(handle.value());
  auto end = make_end(handle.value(), number);
  end->name = "client " + std::to_string(number);
  end->send->outgoing = rig_.chain(0, options_.bytes_each, 7000);
  end->connect = &rig_.make<ConnectOp>(OpKind::connect, handle.value());
  end->connect->peer = rig_.local_address(listener_);
  rig_.submit(*end->connect);
  clients_.push_back(std::move(end));
}

void Echo::take_accepted() {
  for (; taken_count_ < accept_->accepted.size(); ++taken_count_) {
    auto end = make_end(accept_->accepted[taken_count_], taken_count_ + 1);
    end->name = "server " + std::to_string(taken_count_);
    end->recv->holds_blocks = end->recv->group != kNoGroup;
    Result<Address> peer = rig_.backend().peer_address(end->handle);
    if (peer.ok()) end->port = peer.value().port;
    servers_.push_back(std::move(end));
  }
  const bool clients_are_gone = std::all_of(clients_.begin(), clients_.end(),
                                            [](const auto& end) { return end->is_closed(); });
  if (!clients_are_gone) {
    if (!accept_->is_pending()) rig_.submit(*accept_);  // EMFILE and its like: again
  } else if (accept_->is_pending()) {
    rig_.cancel(*accept_);
  } else if (close_listener_ == nullptr && taken_count_ == accept_->accepted.size()) {
    close_listener_ = &rig_.close(listener_);
    rig_.submit(*close_listener_);
  }
}

void Echo::advance(End& end) {
  if (end.is_closed()) return;
  if (end.close != nullptr) return;
  if (end.connect != nullptr) {
    if (end.connect->is_pending()) return;
    if (end.connect->result() < 0 && end.error == 0) end.error = end.connect->result();
    if (end.error == 0 && end.port == 0) {
      Result<Address> local = rig_.backend().local_address(end.handle);
      if (local.ok()) end.port = local.value().port;
    }
  }
  if (end.shutdown != nullptr && end.shutdown->is_done() && end.shutdown->result() < 0 &&
      end.error == 0) {
    end.error = end.shutdown->result();
  }
  if (end.error == 0) look_at_receive(end);
  if (end.error == 0) look_at_send(end);
  if (end.error == 0) end_writing(end);
  const bool is_finished = end.is_eof && end.shutdown != nullptr && end.shutdown->is_done();
  if (end.error != 0 || is_finished) close(end);
}

void Echo::look_at_receive(End& end) {
  if (end.recv->is_pending() || end.is_eof) return;
  if (end.recv->is_done()) {
    if (end.recv->terminal().has(kEof)) {
      end.is_eof = true;
      return;
    }
    if (end.recv->result() < 0 && end.recv->result() != -ENOBUFS) {
      end.error = end.recv->result();
      return;
    }
  }
  rig_.submit(*end.recv);
}

void Echo::look_at_send(End& end) {
  if (end.send->is_pending()) return;
  if (end.send->is_done() && end.send->result() < 0) {
    end.error = end.send->result();
    return;
  }
  end.send->outgoing.trim_front(end.send->sent_bytes - end.trimmed_bytes);
  end.trimmed_bytes = end.send->sent_bytes;
  if (end.connect ==
      nullptr) {  // a server sends back what it received: the blocks themselves, or copies
    if (end.recv->holds_blocks) {
      for (Buf& buf : end.recv->held) end.send->outgoing.append(std::move(buf));
      rig_.drop_blocks(*end.recv);
    } else if (end.recv->bytes.size() > end.queued_bytes) {
      end.send->outgoing.append(
          rig_.chain(end.queued_bytes, end.recv->bytes.size() - end.queued_bytes));
    }
    end.queued_bytes = end.recv->bytes.size();
  }
  if (!end.send->outgoing.empty()) rig_.submit(*end.send);
}

void Echo::end_writing(End& end) {
  if (end.shutdown != nullptr || end.send->is_pending() || !end.send->outgoing.empty()) return;
  const bool is_server = end.connect == nullptr;
  const bool has_all = !is_server || (end.is_eof && end.queued_bytes == end.recv->bytes.size());
  if (!has_all) return;
  if (end.send->is_done() && end.send->sent_bytes != end.trimmed_bytes) return;
  end.shutdown = &rig_.make<ShutdownOp>(OpKind::shutdown, end.handle);
  rig_.submit(*end.shutdown);
}

void Echo::close(End& end) {
  if (end.recv->is_pending()) rig_.cancel(*end.recv);
  if (end.send->is_pending()) rig_.cancel(*end.send);
  if (!end.is_idle()) return;
  end.recv->held.clear();
  end.send->outgoing.clear();
  end.close = &rig_.close(end.handle);
  rig_.submit(*end.close);
}

bool Echo::is_over() const {
  const auto is_closed = [](const auto& end) { return end->is_closed(); };
  return close_listener_ != nullptr && close_listener_->is_done() &&
         std::all_of(clients_.begin(), clients_.end(), is_closed) &&
         std::all_of(servers_.begin(), servers_.end(), is_closed);
}

std::size_t Echo::error_count() const {
  const auto has_error = [](const auto& end) { return end->error != 0; };
  return refused_count_ +
         static_cast<std::size_t>(std::count_if(clients_.begin(), clients_.end(), has_error) +
                                  std::count_if(servers_.begin(), servers_.end(), has_error));
}

// What each end has is a prefix of what was sent; it is all of it unless an error reached one of the two ends.
void Echo::settle_accounts() {
  for (const auto* ends : {&clients_, &servers_}) {
    for (const auto& end : *ends) {
      const std::size_t wrong = first_difference(end->recv->bytes);
      if (wrong != std::string::npos)
        rig_.fail(end->name + " has a wrong byte at " + std::to_string(wrong));
    }
  }
  for (const auto& client : clients_) {
    const auto server = std::find_if(servers_.begin(), servers_.end(), [&](const auto& end) {
      return end->port != 0 && end->port == client->port;
    });
    const bool server_failed = server == servers_.end() || (*server)->error != 0;
    const bool has_all = client->recv->bytes.size() == options_.bytes_each;
    if (!has_all && client->error == 0 && !server_failed) {
      rig_.fail(client->name + " has " + std::to_string(client->recv->bytes.size()) +
                " bytes and no error");
    }
  }
  if (!options_.errors_allowed && error_count() != 0) {
    for (const auto* ends : {&clients_, &servers_}) {
      for (const auto& end : *ends) {
        if (end->error != 0) rig_.fail(end->name + " failed with " + std::to_string(end->error));
      }
    }
  }
}

}  // namespace weir::test
