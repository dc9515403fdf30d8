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
