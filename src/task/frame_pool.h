// Coroutine frames in size classes of 32 bytes, from slabs shared by the process: a frame may be made on one thread
// and end on another. A thread keeps the frames that ended on it, so a steady service allocates nothing.
#pragma once
#include <cstddef>

namespace weir::inline v0 {

void* take_frame(std::size_t size_bytes);
void give_frame(void* frame, std::size_t size_bytes) noexcept;

}  // namespace weir::inline v0
