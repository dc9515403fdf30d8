// Memory in pages, for slabs.
#pragma once
#include <cstddef>

namespace weir::inline v0::os {

/// `size_bytes` of zeros that take no room until they are touched; null when there are none to be had.
void* map_memory(std::size_t size_bytes);
void unmap_memory(void* memory, std::size_t size_bytes);

}  // namespace weir::inline v0::os
