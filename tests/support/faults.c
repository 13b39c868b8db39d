#include "tests/support/faults.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The linker renames calls of f to __wrap_f, and what we call __real_f is f itself. */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *address, size_t bytes);
char *__real_strdup(const char *text);
FILE *__real_fopen(const char *path, const char *mode);
int __real_fclose(FILE *file);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
void __real_free(void *block);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *address, size_t bytes);
char *__wrap_strdup(const char *text);
FILE *__wrap_fopen(const char *path, const char *mode);
int __wrap_fclose(FILE *file);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
void __wrap_free(void *block);

static atomic_long calls, live;
static atomic_long failing_call = -1; /* -1: none */
static atomic_int failing_mode;
static atomic_bool fired;

void faults_arm(long index, enum fault_mode mode) {
    atomic_store(&fired, false);
    atomic_store(&failing_mode, (int)mode);
    atomic_store(&failing_call, atomic_load(&calls) + index);
}

bool faults_disarm(void) {
    atomic_store(&failing_call, -1);
    return atomic_load(&fired);
}

long faults_calls(void) {
    return atomic_load(&calls);
}

long faults_live(void) {
    return atomic_load(&live);
}

/* Whether this call is one that fails. */
static bool fails(void) {
    long call = atomic_fetch_add(&calls, 1), target = atomic_load(&failing_call);
    bool hit = target >= 0 && (atomic_load(&failing_mode) == FAULT_LASTING ? call >= target
                                                                          : call == target);
    if (!hit)
        return false;
    atomic_store(&fired, true);
    errno = ENOMEM;
    return true;
}

static void *counted(void *block) {
    if (block)
        atomic_fetch_add(&live, 1);
    return block;
}

void *__wrap_malloc(size_t bytes) {
    return fails() ? NULL : counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *block, size_t bytes) {
    if (fails())
        return NULL;
    void *moved = __real_realloc(block, bytes);
    return block ? moved : counted(moved);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return fails() ? NULL : counted(__real_aligned_alloc(alignment, bytes));
}

char *__wrap_strdup(const char *text) {
    return fails() ? NULL : counted(__real_strdup(text));
}

void __wrap_free(void *block) {
    if (block)
        atomic_fetch_sub(&live, 1);
    __real_free(block);
}

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset) {
    if (fails())
        return MAP_FAILED;
    void *memory = __real_mmap(address, bytes, protection, flags, fd, offset);
    if (memory != MAP_FAILED)
        atomic_fetch_add(&live, 1);
    return memory;
}

int __wrap_munmap(void *address, size_t bytes) {
    atomic_fetch_sub(&live, 1);
    return __real_munmap(address, bytes);
}

FILE *__wrap_fopen(const char *path, const char *mode) {
    return fails() ? NULL : counted(__real_fopen(path, mode));
}

int __wrap_fclose(FILE *file) {
    atomic_fetch_sub(&live, 1);
    return __real_fclose(file);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument) {
    return fails() ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

void faults_install(void) {
    /* Inside its shared library cJSON would call the real ones. */
    cJSON_Hooks hooks = {.malloc_fn = __wrap_malloc, .free_fn = __wrap_free};
    cJSON_InitHooks(&hooks);
}
