// Raw epoll proxy: joins each connection to one of its own to 127.0.0.1:UPSTREAM.
//   raw_proxy PORT UPSTREAM copy     recv into one shared buffer, send; what does not fit is kept, and its source waits
//   raw_proxy PORT UPSTREAM splice   through a pipe a direction: the bytes never come to user space
#include "common.h"

#include <sys/epoll.h>

#include <algorithm>
#include <string>

struct Pair;
struct Side {
  Pair* pair = nullptr;
  int fd = -1;
  bool readable = false, ended = false;
  bool full = false;        // its socket took less than it was given: wait for its edge
  std::string rest;         // copy: for this side, not sent yet
  int pipe[2] = {-1, -1};   // splice: what goes to this side
  size_t in_pipe = 0;
  bool fin_sent = false;
};
struct Pair {
  Side client, server;
  bool gone = false;
};

static int ep;
static bool splices;
static char buffer[kSharedBuffer];
static sockaddr_in upstream;

static void drop(Pair* p) {
  if (p->gone) return;
  p->gone = true;
  for (Side* s : {&p->client, &p->server}) {
    close(s->fd);
    if (s->pipe[0] >= 0) close(s->pipe[0]), close(s->pipe[1]);
  }
}

static Side& other(Side& s) { return &s == &s.pair->client ? s.pair->server : s.pair->client; }

static bool failed(ssize_t n) { return n < 0 && errno != EAGAIN; }

// What waits for `to`. Returns whether nothing does any more.
static bool flush(Side& to) {
  while (!to.rest.empty()) {
    ssize_t n = send(to.fd, to.rest.data(), to.rest.size(), MSG_NOSIGNAL);
    if (failed(n)) return drop(to.pair), false;
    if (n <= 0) return to.full = true, false;
    to.rest.erase(0, size_t(n));
  }
  while (to.in_pipe) {
    ssize_t n = splice(to.pipe[0], nullptr, to.fd, nullptr, to.in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (failed(n)) return drop(to.pair), false;
    if (n <= 0) return to.full = true, false;
    to.in_pipe -= size_t(n);
  }
  return true;
}

// From one side to the other until there is no more, or it is full.
static void carry(Side& from) {
  Side& to = other(from);
  while (!from.pair->gone && !to.full && flush(to)) {
    if (from.ended) {
      if (!to.fin_sent) shutdown(to.fd, SHUT_WR);
      to.fin_sent = true;
      if (from.fin_sent) drop(from.pair);
      return;
    }
    if (!from.readable) return;
    ssize_t n = splices ? splice(from.fd, nullptr, to.pipe[1], nullptr, kSharedBuffer, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
                        : recv(from.fd, buffer, sizeof buffer, 0);
    if (failed(n)) return drop(from.pair);
    if (n < 0) {
      from.readable = false;
      return;
    }
    if (n == 0) {
      from.ended = true;
      continue;
    }
    if (splices) {
      to.in_pipe += size_t(n);
      continue;
    }
    ssize_t w = send(to.fd, buffer, size_t(n), MSG_NOSIGNAL);
    if (failed(w)) return drop(from.pair);
    if (w < n) {
      to.rest.assign(buffer + std::max<ssize_t>(w, 0), buffer + n);
      to.full = true;
    }
  }
}

static void watch(Side& s) {
  epoll_event ev{};
  ev.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  ev.data.ptr = &s;
  epoll_ctl(ep, EPOLL_CTL_ADD, s.fd, &ev);
}

static void open_pair(int client) {
  Pair* p = new Pair;
  p->client.pair = p->server.pair = p;
  p->client.fd = client;
  p->server.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  set_nodelay(p->server.fd);
  p->server.full = true;  // until it is connected
  if (connect(p->server.fd, reinterpret_cast<sockaddr*>(&upstream), sizeof upstream) != 0 && errno != EINPROGRESS) return drop(p);
  for (Side* s : {&p->client, &p->server}) {
    if (splices && pipe2(s->pipe, O_NONBLOCK | O_CLOEXEC) != 0) return drop(p);
    if (splices) fcntl(s->pipe[1], F_SETPIPE_SZ, int(kSharedBuffer));
    watch(*s);
  }
}

int main(int argc, char** argv) {
  int listener = listen_tcp(arg_port(argc, argv), SOCK_NONBLOCK);
  if (argc < 4) return 2;
  upstream.sin_family = AF_INET;
  upstream.sin_port = htons(uint16_t(atoi(argv[2])));
  upstream.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  splices = !strcmp(argv[3], "splice");
  ep = epoll_create1(EPOLL_CLOEXEC);
  epoll_event ev{};
  ev.events = EPOLLIN;
  ev.data.ptr = nullptr;
  epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
  static epoll_event events[1024];
  static Pair* closed[1024];
  for (;;) {
    int n = epoll_wait(ep, events, 1024, -1), closed_count = 0;
    for (int i = 0; i < n; ++i) {
      Side* s = static_cast<Side*>(events[i].data.ptr);
      if (!s) {
        int c;
        while ((c = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) open_pair(c);
        continue;
      }
      if (s->pair->gone) continue;
      uint32_t e = events[i].events;
      if (e & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) s->readable = true;
      if (e & (EPOLLOUT | EPOLLHUP | EPOLLERR)) s->full = false;
      carry(*s);
      if (!s->pair->gone) carry(other(*s));
      if (s->pair->gone) closed[closed_count++] = s->pair;
    }
    for (int i = 0; i < closed_count; ++i) delete closed[i];
  }
}
