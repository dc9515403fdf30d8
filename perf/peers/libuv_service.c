// libuv service: an echo of 64-byte requests in which each request arms a deadline of 30 s and cancels it, is answered in
// three writes, and every 64th posts to another loop on another thread.
//   libuv_service PORT            three uv_try_write calls, as the interface invites
//   libuv_service PORT gathered   one, with three buffers
#include "libuv_common.h"

#define REQUEST_BYTES 64
#define DEADLINE_MS 30000
#define POST_EVERY 64
static const unsigned kParts[3] = {8, 48, 8};

typedef struct {
  uv_tcp_t tcp;
  uv_timer_t deadline;
  unsigned have;  // bytes of a request that has not come whole
  int open_handles;
  char request[REQUEST_BYTES];
} peer_t;

static int gathered;

// The other loop: a locked queue and uv_async_send, the usual way.
typedef struct post_s {
  struct post_s* next;
} post_t;
static uv_loop_t other_loop;
static uv_async_t wake;
static uv_mutex_t lock;
static post_t* posts;
static unsigned long ran;

static void on_wake(uv_async_t* a) {
  (void)a;
  uv_mutex_lock(&lock);
  post_t* p = posts;
  posts = NULL;
  uv_mutex_unlock(&lock);
  while (p) {
    post_t* next = p->next;
    ++ran;
    free(p);
    p = next;
  }
}

static void post_to_other_loop(void) {
  post_t* p = malloc(sizeof *p);
  uv_mutex_lock(&lock);
  int first = posts == NULL;
  p->next = posts;
  posts = p;
  uv_mutex_unlock(&lock);
  if (first) uv_async_send(&wake);
}

static void run_other_loop(void* arg) {
  (void)arg;
  uv_run(&other_loop, UV_RUN_DEFAULT);
}

static void on_close(uv_handle_t* h) {
  peer_t* p = h->data;
  if (--p->open_handles == 0) free(p);
}

static void drop(peer_t* p) {
  if (uv_is_closing((uv_handle_t*)&p->tcp)) return;
  uv_close((uv_handle_t*)&p->tcp, on_close);
  uv_close((uv_handle_t*)&p->deadline, on_close);
}

static void on_deadline(uv_timer_t* t) { drop(t->data); }

static void on_written(uv_write_t* req, int status) {
  if (status < 0) drop(req->handle->data);
  free(req);
}

static void answer(peer_t* p, uv_buf_t* bufs, unsigned n) {
  if (write_all((uv_stream_t*)&p->tcp, bufs, n, on_written) < 0) drop(p);
}

static void serve(peer_t* p, char* request) {
  static unsigned long served;
  uv_timer_start(&p->deadline, on_deadline, DEADLINE_MS, 0);
  uv_buf_t bufs[3];
  char* at = request;
  for (int i = 0; i < 3; ++i) {
    bufs[i] = uv_buf_init(at, kParts[i]);
    at += kParts[i];
  }
  if (gathered) {
    answer(p, bufs, 3);
  } else {
    for (int i = 0; i < 3; ++i) answer(p, &bufs[i], 1);
  }
  if (uv_is_closing((uv_handle_t*)&p->tcp)) return;
  uv_timer_stop(&p->deadline);
  if (++served % POST_EVERY == 0) post_to_other_loop();
}

static void on_read(uv_stream_t* s, ssize_t n, const uv_buf_t* buf) {
  peer_t* p = s->data;
  if (n < 0) {
    drop(p);
    return;
  }
  char* at = buf->base;
  while (n > 0 && !uv_is_closing((uv_handle_t*)s)) {
    if (p->have == 0 && n >= REQUEST_BYTES) {
      serve(p, at);
      at += REQUEST_BYTES;
      n -= REQUEST_BYTES;
      continue;
    }
    unsigned part = REQUEST_BYTES - p->have < n ? REQUEST_BYTES - p->have : (unsigned)n;
    memcpy(p->request + p->have, at, part);
    p->have += part;
    at += part;
    n -= part;
    if (p->have == REQUEST_BYTES) {
      p->have = 0;
      serve(p, p->request);
    }
  }
}

static void on_connection(uv_stream_t* server, int status) {
  if (status < 0) return;
  peer_t* p = calloc(1, sizeof *p);
  uv_tcp_init(server->loop, &p->tcp);
  uv_timer_init(server->loop, &p->deadline);
  p->tcp.data = p->deadline.data = p;
  p->open_handles = 2;
  if (uv_accept(server, (uv_stream_t*)&p->tcp) != 0) {
    drop(p);
    return;
  }
  uv_tcp_nodelay(&p->tcp, 1);
  uv_read_start((uv_stream_t*)&p->tcp, on_alloc, on_read);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  gathered = argc > 2 && !strcmp(argv[2], "gathered");
  uv_loop_init(&other_loop);
  uv_mutex_init(&lock);
  uv_async_init(&other_loop, &wake, on_wake);
  uv_thread_t thread;
  uv_thread_create(&thread, run_other_loop, NULL);
  return listen_and_run(atoi(argv[1]), on_connection);
}
