// WEIR_API marks what users of the library may call; every other symbol stays inside it.
#pragma once

#if defined(_WIN32)
#define WEIR_API
#else
#define WEIR_API [[gnu::visibility("default")]]
#endif
