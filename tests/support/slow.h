/* Under a sanitizer all takes many times as long: what says the same once more with other numbers is left to
 * the plain build there. */
#ifndef BALLAST_TESTS_SUPPORT_SLOW_H
#define BALLAST_TESTS_SUPPORT_SLOW_H

#include <stdbool.h>

static inline bool bl_test_slow(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return true;
#endif
#endif
    return false;
}

#endif
