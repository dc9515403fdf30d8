// Does exactly what count_calls.cc must see: 7 allocations, and 5 long copies of 1 KiB among shorter ones.
#include <cstring>
#include <new>

namespace {
char from[4096], to[4096];
}

int main() {
  // Through volatile pointers, so that the compiler can neither leave a call out nor do it by itself.
  void* (*volatile copy)(void*, const void*, std::size_t) = std::memcpy;
  void* (*volatile move)(void*, const void*, std::size_t) = std::memmove;
  void* (*volatile allocate)(std::size_t) = ::operator new;
  void (*volatile release)(void*) = ::operator delete;
  void* (*volatile allocate_aligned)(std::size_t, std::align_val_t) = ::operator new;
  void (*volatile release_aligned)(void*, std::align_val_t) = ::operator delete;
  for (int i = 0; i < 4; ++i) release(allocate(100));
  for (int i = 0; i < 3; ++i) {
    release_aligned(allocate_aligned(100, std::align_val_t{64}), std::align_val_t{64});
  }
  for (int i = 0; i < 3; ++i) copy(to, from, 1024);
  for (int i = 0; i < 2; ++i) move(to + 1, to, 1024);
  for (int i = 0; i < 9; ++i) copy(to, from, 1023);
}
