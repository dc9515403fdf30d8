// libuv fan-out: uv_try_write of the received bytes per subscriber, a queued write of one shared, counted copy only for
// those that did not take all. A subscriber with 1 MiB queued misses what comes.
#include "libuv_common.h"

enum { ROLE_NONE, ROLE_SUBSCRIBER, ROLE_PUBLISHER };
#define QUEUE_MAX (1 << 20)

typedef struct {
  uv_tcp_t tcp;
  int role;
  size_t place;  // among the subscribers
} peer_t;

typedef struct {
  int refs;
  char data[];
} message_t;

typedef struct {
  uv_write_t req;
  message_t* message;
} pending_t;

static peer_t** subscribers;
static size_t count, capacity;

static void on_close(uv_handle_t* h) { free(h); }

static void drop(peer_t* p) {
  if (uv_is_closing((uv_handle_t*)&p->tcp)) return;
  if (p->role == ROLE_SUBSCRIBER) {
    subscribers[p->place] = subscribers[--count];
    subscribers[p->place]->place = p->place;
  }
  uv_close((uv_handle_t*)&p->tcp, on_close);
}

static void on_written(uv_write_t* req, int status) {
  pending_t* w = (pending_t*)req;
  if (--w->message->refs == 0) free(w->message);
  if (status < 0) drop((peer_t*)req->handle);
  free(w);
}

static void deliver(const char* data, size_t size) {
  message_t* copy = NULL;
  for (size_t i = 0; i < count; ++i) {
    uv_stream_t* s = (uv_stream_t*)&subscribers[i]->tcp;
    size_t queued = uv_stream_get_write_queue_size(s);
    if (queued > QUEUE_MAX) continue;
    uv_buf_t out = uv_buf_init((char*)data, (unsigned)size);
    int n = queued ? UV_EAGAIN : uv_try_write(s, &out, 1);
    if (n == (int)size) continue;
    if (n < 0 && n != UV_EAGAIN) continue;  // broken: its read tells
    if (n < 0) n = 0;
    if (!copy) {
      copy = malloc(sizeof *copy + size);
      copy->refs = 0;
      memcpy(copy->data, data, size);
    }
    ++copy->refs;
    pending_t* w = malloc(sizeof *w);
    w->message = copy;
    out = uv_buf_init(copy->data + n, (unsigned)(size - (size_t)n));
    uv_write(&w->req, s, &out, 1, on_written);
  }
}

static void on_read(uv_stream_t* s, ssize_t n, const uv_buf_t* buf) {
  peer_t* p = (peer_t*)s;
  if (n == 0) return;
  if (n < 0) {
    drop(p);
    return;
  }
  if (p->role == ROLE_PUBLISHER) {
    deliver(buf->base, (size_t)n);
  } else if (p->role == ROLE_NONE && n >= 4) {
    p->role = memcmp(buf->base, "PUB\n", 4) ? ROLE_SUBSCRIBER : ROLE_PUBLISHER;
    if (p->role == ROLE_SUBSCRIBER) {
      if (count == capacity) subscribers = realloc(subscribers, (capacity = capacity * 2 + 64) * sizeof *subscribers);
      p->place = count;
      subscribers[count++] = p;
    }
    uv_buf_t out = uv_buf_init("OK\n", 3);
    if (uv_try_write(s, &out, 1) != 3) drop(p);
  }
}

static void on_connection(uv_stream_t* server, int status) {
  if (status < 0) return;
  peer_t* p = calloc(1, sizeof *p);
  uv_tcp_init(server->loop, &p->tcp);
  if (uv_accept(server, (uv_stream_t*)p) != 0) {
    uv_close((uv_handle_t*)p, on_close);
    return;
  }
  uv_tcp_nodelay(&p->tcp, 1);
  uv_read_start((uv_stream_t*)p, on_alloc, on_read);
}

int main(int argc, char** argv) { return argc < 2 ? 2 : listen_and_run(atoi(argv[1]), on_connection); }
