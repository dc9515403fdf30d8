// Connections to the server, and the epoll that watches them.
#pragma once
#include <netinet/in.h>

#include <cstddef>
#include <cstdint>

inline constexpr unsigned kConnectionsPerSource =
    4500;                                  // connect() turns slow at half of the ports
inline constexpr int kSilenceMs = 10'000;  // without any answer the run ends

/// A connected socket, edge-triggered in `epoll` (if not -1) with `index` as its data. Blocking: on loopback the
/// handshake needs no server, so this returns at once. From another address every kConnectionsPerSource.
int open_socket(int epoll, const sockaddr_in& server, std::size_t index);

/// Closes with a reset instead of a FIN, so that no port waits in TIME_WAIT.
void reset_socket(int fd);

/// Waits for exactly `size` bytes, at most kSilenceMs; a message and the end of the program if they do not come.
void receive_blocking(int fd, std::size_t index, char* to, std::size_t size);
void send_blocking(int fd, std::size_t index, const char* from, std::size_t size);

/// Room for `count` descriptors, or the end of the program.
void raise_descriptors(std::size_t count);

struct epoll_event;
/// epoll_wait to the nanosecond; the end of the program after kSilenceMs of nothing.
int wait_events(int epoll, epoll_event* events, int max, std::uint64_t wait_ns);
