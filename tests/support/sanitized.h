/* sanitized.h - says whether a sanitizer watches this build.
 *
 * It makes the model up to a hundred times slower, and looks at code and not at numbers: a test
 * that runs the same code for many numbers may take fewer of them then. A constant, for any thread.
 */
#ifndef ALPACA_TESTS_SUPPORT_SANITIZED_H
#define ALPACA_TESTS_SUPPORT_SANITIZED_H

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif

enum {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer)
    SANITIZED = 1
#else
    SANITIZED = 0
#endif
};

#endif
