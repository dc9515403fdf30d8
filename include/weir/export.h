// WEIR_API marks what users of the library may call; every other symbol stays inside it.
#pragma once

#if defined(__ELF__) || \
    defined(__MACH__)  // Formats of shared libraries in which symbols can be hidden.
#define WEIR_API [[gnu::visibility("default")]]
#else
#define WEIR_API
#endif

// WEIR_FAST_TLS: the thread-local model of libraries that are loaded at start, a fixed offset instead of a call.
#if defined(__ELF__)
#define WEIR_FAST_TLS [[gnu::tls_model("initial-exec")]]
#else
#define WEIR_FAST_TLS
#endif
