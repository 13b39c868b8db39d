/* fence.h - memory whose end lies at a protected page, so that reading or
 * writing one element too far faults at once instead of passing unseen.
 *
 * Ownership: the caller destroys what it creates. Thread-safe.
 */
#ifndef ALPACA_TESTS_SUPPORT_FENCE_H
#define ALPACA_TESTS_SUPPORT_FENCE_H

#include <stddef.h>

struct fence {
    void *data; /* `bytes` long, ending exactly at the protected page */
    void *mapping;
    size_t mapping_bytes;
};

/* Fails the running cmocka test when memory runs out. */
struct fence fence_create(size_t bytes);
void fence_destroy(struct fence *fence);

#endif
