// libuv proxy: joins each connection to one of its own to 127.0.0.1:UPSTREAM. uv_try_write first, a queued write with a
// copy only for what did not fit; the source does not read while anything of it is queued.
//   libuv_proxy PORT UPSTREAM
#include "libuv_common.h"

typedef struct side_s {
  uv_tcp_t tcp;
  struct side_s* other;
  int ended;  // read to its end
} side_t;

typedef struct {
  uv_write_t req;
  char data[];
} pending_t;

static struct sockaddr_in upstream;

static void on_close(uv_handle_t* h) { free(h); }

static void drop(side_t* s) {
  if (s->other) {
    s->other->other = NULL;
    uv_close((uv_handle_t*)&s->other->tcp, on_close);
    s->other = NULL;
  }
  if (!uv_is_closing((uv_handle_t*)&s->tcp)) uv_close((uv_handle_t*)&s->tcp, on_close);
}

static void on_read(uv_stream_t* stream, ssize_t n, const uv_buf_t* buf);

static void on_written(uv_write_t* req, int status) {
  side_t* to = (side_t*)req->handle;
  free(req);
  if (status < 0) {
    if (status != UV_ECANCELED) drop(to);
    return;
  }
  if (to->other && !to->other->ended && !uv_stream_get_write_queue_size((uv_stream_t*)&to->tcp))
    uv_read_start((uv_stream_t*)&to->other->tcp, on_alloc, on_read);
}

static void on_shutdown(uv_shutdown_t* req, int status) {
  (void)status;
  side_t* to = (side_t*)req->handle;
  free(req);
  if (to->ended && to->other && to->other->ended) drop(to);
}

static void on_read(uv_stream_t* stream, ssize_t n, const uv_buf_t* buf) {
  side_t* from = (side_t*)stream;
  side_t* to = from->other;
  if (n == 0) return;
  if (!to || (n < 0 && n != UV_EOF)) {
    drop(from);
    return;
  }
  if (n == UV_EOF) {
    from->ended = 1;
    uv_read_stop(stream);
    uv_shutdown_t* req = malloc(sizeof *req);
    if (uv_shutdown(req, (uv_stream_t*)&to->tcp, on_shutdown) != 0) {
      free(req);
      drop(from);
    }
    return;
  }
  uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
  int w = uv_try_write((uv_stream_t*)&to->tcp, &out, 1);
  if (w == n) return;
  if (w < 0 && w != UV_EAGAIN) {
    drop(from);
    return;
  }
  if (w < 0) w = 0;
  pending_t* p = malloc(sizeof *p + (size_t)(n - w));
  memcpy(p->data, buf->base + w, (size_t)(n - w));
  out = uv_buf_init(p->data, (unsigned)(n - w));
  uv_read_stop(stream);
  uv_write(&p->req, (uv_stream_t*)&to->tcp, &out, 1, on_written);
}

static void on_connected(uv_connect_t* req, int status) {
  side_t* server = (side_t*)req->handle;
  free(req);
  if (status == UV_ECANCELED) return;
  if (status < 0) {
    drop(server);
    return;
  }
  uv_tcp_nodelay(&server->tcp, 1);
  uv_read_start((uv_stream_t*)&server->tcp, on_alloc, on_read);
  uv_read_start((uv_stream_t*)&server->other->tcp, on_alloc, on_read);
}

static void on_connection(uv_stream_t* listener, int status) {
  if (status < 0) return;
  side_t* client = calloc(1, sizeof *client);
  side_t* server = calloc(1, sizeof *server);
  client->other = server;
  server->other = client;
  uv_tcp_init(listener->loop, &client->tcp);
  uv_tcp_init(listener->loop, &server->tcp);
  uv_connect_t* req = malloc(sizeof *req);
  if (uv_accept(listener, (uv_stream_t*)&client->tcp) != 0 ||
      uv_tcp_connect(req, &server->tcp, (const struct sockaddr*)&upstream, on_connected) != 0) {
    free(req);
    drop(client);
    return;
  }
  uv_tcp_nodelay(&client->tcp, 1);
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  uv_ip4_addr("127.0.0.1", atoi(argv[2]), &upstream);
  return listen_and_run(atoi(argv[1]), on_connection);
}
