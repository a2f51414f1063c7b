/* Reports the compiler and the flags that the library was built with.  setup.py passes
 * the flags as FO_CFLAGS. */
#include "fastopt.h"

#if !defined(FO_CFLAGS)
#define FO_CFLAGS ""
#endif

const char *fo_compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#elif defined(_MSC_VER)
    return "MSVC";
#else
    return "unknown";
#endif
}

const char *fo_cflags(void)
{
    return FO_CFLAGS;
}
