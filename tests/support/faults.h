/* faults.h - makes one request for memory after another fail, on purpose.
 *
 * In a test that links this, every malloc, calloc, realloc, aligned_alloc, strdup,
 * mmap, fopen and pthread_create of our own code, and all of cJSON's, go through
 * here (the Makefile's LDFLAGS_torture_test; a function that we begin to use is to be
 * added there). While nothing is armed they work as ever.
 * Counting goes over all threads; so does failing. Thread-safe.
 */
#ifndef ALPACA_TESTS_SUPPORT_FAULTS_H
#define ALPACA_TESTS_SUPPORT_FAULTS_H

#include <stdbool.h>

enum fault_mode {
    FAULT_ONCE,    /* the one call fails, the next ones work: memory was short for a moment */
    FAULT_LASTING, /* it and all after it fail: memory has run out */
};

/* To be called before anything else, once. */
void faults_install(void);
/* The call number `index` from now on (0: the next one) fails with ENOMEM. */
void faults_arm(long index, enum fault_mode mode);
/* No more failures; returns whether there was one. */
bool faults_disarm(void);
/* Calls so far that could have been made to fail. */
long faults_calls(void);
/* Blocks, mappings and files that are allocated or open now. */
long faults_live(void);

#endif
