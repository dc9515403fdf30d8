// libuv and llhttp: answers every request with a hello, keeps connections alive, gathers the answers to what came at once.
//   libuv_http PORT
#include <llhttp.h>

#include "libuv_common.h"

static const char kAnswer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
enum { kAnswerBytes = sizeof kAnswer - 1, kGathered = 64 };

typedef struct {
  uv_tcp_t tcp;
  llhttp_t parser;
  unsigned due;  // answers to requests that are complete
  int is_last;
} peer_t;

static llhttp_settings_t settings;

static int on_message_complete(llhttp_t* parser) {
  peer_t* p = parser->data;
  ++p->due;
  p->is_last = !llhttp_should_keep_alive(parser);
  return 0;
}

static void on_close(uv_handle_t* h) { free(h); }

static void drop(peer_t* p) {
  if (!uv_is_closing((uv_handle_t*)&p->tcp)) uv_close((uv_handle_t*)&p->tcp, on_close);
}

static void on_written(uv_write_t* req, int status) {
  peer_t* p = (peer_t*)req->handle;
  free(req);
  if (status < 0 || p->is_last) drop(p);
}

static void answer(peer_t* p, unsigned count) {
  uv_buf_t bufs[kGathered];
  for (unsigned i = 0; i < count; ++i) bufs[i] = uv_buf_init((char*)kAnswer, kAnswerBytes);
  if (write_all((uv_stream_t*)&p->tcp, bufs, count, on_written) < 0) drop(p);
}

static void on_read(uv_stream_t* s, ssize_t n, const uv_buf_t* buf) {
  peer_t* p = (peer_t*)s;
  if (n == 0) return;
  if (n < 0 || llhttp_execute(&p->parser, buf->base, (size_t)n) != HPE_OK) {
    drop(p);
    return;
  }
  while (p->due != 0 && !uv_is_closing((uv_handle_t*)s)) {
    unsigned count = p->due < kGathered ? p->due : kGathered;
    p->due -= count;
    answer(p, count);
  }
  if (p->is_last && !uv_stream_get_write_queue_size(s)) drop(p);
}

static void on_connection(uv_stream_t* server, int status) {
  if (status < 0) return;
  peer_t* p = calloc(1, sizeof *p);
  uv_tcp_init(server->loop, &p->tcp);
  if (uv_accept(server, (uv_stream_t*)&p->tcp) != 0) {
    drop(p);
    return;
  }
  llhttp_init(&p->parser, HTTP_REQUEST, &settings);
  p->parser.data = p;
  uv_tcp_nodelay(&p->tcp, 1);
  uv_read_start((uv_stream_t*)&p->tcp, on_alloc, on_read);
}

int main(int argc, char** argv) {
  llhttp_settings_init(&settings);
  settings.on_message_complete = on_message_complete;
  return argc < 2 ? 2 : listen_and_run(atoi(argv[1]), on_connection);
}
