// Raw epoll fan-out: the least a readiness server can do. One send of the received bytes per subscriber; a subscriber whose
// socket is full misses what comes until it is not.
//   raw_fanout PORT
// A connection says SUB or PUB in a line and gets OK; what publishers send goes to all subscribers.
#include "common.h"

#include <sys/epoll.h>

#include <vector>

enum class Role : char { none, subscriber, publisher };
struct Peer {
  Role role = Role::none;
  size_t place = 0;     // among the subscribers
  size_t behind = 0;    // bytes of a message that was sent in part: the rest is kept
  char* rest = nullptr;
};

static int ep;
static char buffer[kSharedBuffer];
static std::vector<Peer> peers(1 << 16);  // by descriptor
static std::vector<int> subscribers;

static void drop(int fd) {
  Peer& p = peers[size_t(fd)];
  if (p.role == Role::subscriber) {
    subscribers[p.place] = subscribers.back();
    peers[size_t(subscribers[p.place])].place = p.place;
    subscribers.pop_back();
  }
  free(p.rest);
  p = Peer{};
  close(fd);
}

static void deliver(const char* data, size_t size) {
  for (int fd : subscribers) {
    Peer& p = peers[size_t(fd)];
    if (p.behind) continue;
    ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
    if (n <= 0 || size_t(n) == size) continue;  // full: it misses these; broken: epoll tells
    p.behind = size - size_t(n);
    p.rest = static_cast<char*>(malloc(p.behind));
    memcpy(p.rest, data + n, p.behind);
  }
}

static void writable(Peer& p, int fd) {
  if (!p.behind) return;
  ssize_t n = send(fd, p.rest, p.behind, MSG_NOSIGNAL);
  if (n <= 0) return;
  p.behind -= size_t(n);
  memmove(p.rest, p.rest + n, p.behind);
  if (p.behind) return;
  free(p.rest);
  p.rest = nullptr;
}

static void readable(int fd, bool closing) {
  Peer& p = peers[size_t(fd)];
  for (;;) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
      if (n == 0 || errno != EAGAIN) drop(fd);
      return;
    }
    if (p.role == Role::publisher) {
      deliver(buffer, size_t(n));
    } else if (p.role == Role::none && n >= 4) {
      p.role = memcmp(buffer, "PUB\n", 4) ? Role::subscriber : Role::publisher;
      if (p.role == Role::subscriber) {
        p.place = subscribers.size();
        subscribers.push_back(fd);
      }
      if (send(fd, "OK\n", 3, MSG_NOSIGNAL) != 3) return drop(fd);
    }
    if (!closing && n < ssize_t(sizeof buffer)) return;
  }
}

int main(int argc, char** argv) {
  int listener = listen_tcp(arg_port(argc, argv), SOCK_NONBLOCK);
  ep = epoll_create1(EPOLL_CLOEXEC);
  epoll_event ev{};
  ev.events = EPOLLIN;
  ev.data.fd = listener;
  epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
  static epoll_event events[1024];
  for (;;) {
    int n = epoll_wait(ep, events, 1024, -1);
    for (int i = 0; i < n; ++i) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        int c;
        while ((c = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          if (size_t(c) >= peers.size()) {
            close(c);
            continue;
          }
          ev.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
          ev.data.fd = c;
          epoll_ctl(ep, EPOLL_CTL_ADD, c, &ev);
        }
        continue;
      }
      bool closing = events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
      if (events[i].events & EPOLLOUT) writable(peers[size_t(fd)], fd);
      if (closing || (events[i].events & EPOLLIN)) readable(fd, closing);
    }
  }
}
