// Prints the sizes of the structs that exist once a connection, an operation, a slice or a timer: what weir's memory is
// made of.
#include <cstdio>

#include "src/net/socket_core.h"
#include "weir/weir.h"

int main() {
  const struct {
    const char* name;
    std::size_t bytes;
  } rows[] = {
      {"Block", sizeof(weir::Block)},           {"Buf", sizeof(weir::Buf)},
      {"Completion", sizeof(weir::Completion)}, {"PromiseBase", sizeof(weir::PromiseBase)},
      {"RecvOp", sizeof(weir::RecvOp)},         {"SendOp", sizeof(weir::SendOp)},
      {"SocketCore", sizeof(weir::SocketCore)}, {"Timer", sizeof(weir::Timer)},
      {"TimerNode", sizeof(weir::TimerNode)},
  };
  for (const auto& row : rows) std::printf("%s %zu\n", row.name, row.bytes);
}
