// Shared by the libuv servers: a listening TCP handle on loopback, the shared read buffer.
#pragma once
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static char shared[256 * 1024];

static inline void on_alloc(uv_handle_t* h, size_t hint, uv_buf_t* buf) {
  (void)h;
  (void)hint;
  *buf = uv_buf_init(shared, sizeof shared);
}

typedef struct {
  uv_write_t req;
  char data[];
} queued_t;

// Writes what goes at once and queues a copy of the rest; on_written frees it. Negative: the connection's error.
static inline int write_all(uv_stream_t* s, uv_buf_t* bufs, unsigned n, uv_write_cb on_written) {
  int total = 0;
  for (unsigned i = 0; i < n; ++i) total += (int)bufs[i].len;
  int w = uv_stream_get_write_queue_size(s) ? UV_EAGAIN : uv_try_write(s, bufs, n);
  if (w == total) return 0;
  if (w < 0 && w != UV_EAGAIN) return w;
  if (w < 0) w = 0;
  queued_t* q = malloc(sizeof *q + (size_t)total);
  int at = 0;
  for (unsigned i = 0; i < n; ++i) {
    memcpy(q->data + at, bufs[i].base, bufs[i].len);
    at += (int)bufs[i].len;
  }
  uv_buf_t out = uv_buf_init(q->data + w, (unsigned)(total - w));
  uv_write(&q->req, s, &out, 1, on_written);
  return 0;
}

static inline int listen_and_run(int port, uv_connection_cb on_connection) {
  signal(SIGPIPE, SIG_IGN);
  uv_loop_t* loop = uv_default_loop();
  static uv_tcp_t server;
  struct sockaddr_in a;
  uv_ip4_addr("127.0.0.1", port, &a);
  uv_tcp_init(loop, &server);
  if (uv_tcp_bind(&server, (const struct sockaddr*)&a, 0) != 0) return 1;
  if (uv_listen((uv_stream_t*)&server, 4096, on_connection) != 0) return 1;
  return uv_run(loop, UV_RUN_DEFAULT);
}
