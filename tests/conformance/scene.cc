// How each kind of op is made to wait, released, and accounted for.
#include "tests/conformance/scene.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/conformance/row.h"

namespace weir::test {
namespace {

constexpr std::size_t kReadyBytes = 100;

SocketSpec datagram_spec() {
  SocketSpec spec;
  spec.type = SocketSpec::Type::datagram;
  spec.bind = loopback(Family::ipv4, 0);
  return spec;
}

}  // namespace

Scene::Scene(Rig& rig, Waits waits) : rig_(rig), waits_(waits) {
  switch (waits) {
    case Waits::recv_memory:
    case Waits::recv_group:
    case Waits::recv_multishot:
      handle_ = rig.connected(peer_);
      op_ = waits == Waits::recv_memory ? &rig.recv(handle_, 256)
                                        : &rig.recv_group(handle_, waits == Waits::recv_multishot);
      break;
    case Waits::accept_once:
    case Waits::accept_multishot:
      handle_ = rig.listen();
      target_ = rig.local_address(handle_);
      op_ = &rig.accept(handle_, waits == Waits::accept_multishot);
      break;
    case Waits::connect: {
      full_listener_ = std::make_unique<FullListener>();
      handle_ = rig.open({});
      auto& connect = rig.make<ConnectOp>(OpKind::connect, handle_);
      connect.peer = full_listener_->address();
      op_ = &connect;
      break;
    }
    case Waits::send:
      fill_socket();
      op_ = &rig.send(handle_, kReadyBytes, filled_bytes_);
      break;
    case Waits::recvmsg: {
      handle_ = rig.open(datagram_spec());
      target_ = rig.local_address(handle_);
      datagram_ = std::make_unique<PeerDatagram>();
      auto& recvmsg = rig.make<MsgOp>(OpKind::recvmsg, handle_);
      recvmsg.memory.resize(256);
      recvmsg.target = recvmsg.memory.data();
      recvmsg.bytes_max = 256;
      op_ = &recvmsg;
      break;
    }
    case Waits::poll:
    case Waits::poll_multishot:
      event_ = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
      handle_ = rig.attach_foreign(event_.get());
      op_ = &rig.poll_op(handle_, kReadable, waits == Waits::poll_multishot);
      break;
  }
}

// A pair of the machine itself: over TCP, a late acknowledgement could make room again.
void Scene::fill_socket() {
  int ends[2] = {-1, -1};
  rig_.demand(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0,
              "socketpair", __FILE__, __LINE__);
  Descriptor near(ends[0]);
  peer_ = Peer(Descriptor(ends[1]));
  for (;;) {
    const std::string bytes = pattern(filled_bytes_, 64 << 10);
    const ssize_t sent = ::send(near.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) break;
    filled_bytes_ += static_cast<std::size_t>(sent);
  }
  handle_ = rig_.attach(std::move(near));
}

void Scene::make_ready() {
  switch (waits_) {
    case Waits::recv_memory:
    case Waits::recv_group:
    case Waits::recv_multishot: peer_.send(kReadyBytes); break;
    case Waits::accept_once:
    case Waits::accept_multishot: peer_ = Peer::connect(target_); break;
    case Waits::connect: full_listener_->make_room(); break;
    case Waits::send: peer_.read_some(); break;
    case Waits::recvmsg: datagram_->send_to(target_, pattern(0, kReadyBytes)); break;
    case Waits::poll:
    case Waits::poll_multishot: {
      const std::uint64_t one = 1;
      rig_.demand(::write(event_.get(), &one, sizeof(one)) == sizeof(one), "write to an eventfd",
                  __FILE__, __LINE__);
      break;
    }
  }
}

void Scene::demand_conserved() {
  switch (waits_) {
    case Waits::recv_memory:
    case Waits::recv_group:
    case Waits::recv_multishot: {
      auto& recv = static_cast<Tracked<RecvOp>&>(*op_);
      if (!receive_bytes(rig_, recv, kReadyBytes)) return;
      DEMAND_EQ(rig_, recv.bytes.size(), kReadyBytes);
      DEMAND_EQ(rig_, first_difference(recv.bytes), std::string::npos);
      return;
    }
    case Waits::accept_once:
    case Waits::accept_multishot:
      if (op_->accepted.empty()) rig_.submit(*op_);
      AWAIT(rig_, op_->accepted.size() == 1);
      return;
    case Waits::send: {
      const std::size_t sent = filled_bytes_ + op_->sent_bytes;
      auto& shutdown = rig_.make<ShutdownOp>(OpKind::shutdown, handle_);
      rig_.submit(shutdown);
      AWAIT(rig_, (peer_.read_some(), peer_.is_eof()));
      DEMAND_EQ(rig_, peer_.received().size(), sent);
      DEMAND_EQ(rig_, first_difference(peer_.received()), std::string::npos);
      return;
    }
    case Waits::recvmsg:
      if (op_->bytes.empty()) rig_.submit(*op_);
      AWAIT(rig_, op_->bytes.size() == kReadyBytes);
      return;
    case Waits::connect:
    case Waits::poll:
    case Waits::poll_multishot: return;
  }
}

}  // namespace weir::test
