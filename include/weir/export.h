// WEIR_API marks what users of the library may call; every other symbol stays inside it.
#pragma once

#if defined(__ELF__) || \
    defined(__MACH__)  // Formats of shared libraries in which symbols can be hidden.
#define WEIR_API [[gnu::visibility("default")]]
#else
#define WEIR_API
#endif
