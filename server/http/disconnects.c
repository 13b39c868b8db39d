#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* POLLRDHUP */
#endif
#include "server/http/disconnects.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef POLLRDHUP
#define POLLRDHUP 0 /* elsewhere POLLHUP, which is always reported, says it */
#endif

#define TICK_NS 1000000000u

struct watch {
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below; held during callbacks, not during poll() */
    struct watch_entry *first[2]; /* those without and those with an fd */
    size_t count;                 /* those with an fd */
    uint64_t changes; /* of the fds so far: tells whether poll's results are still about these */
    bool stop;
    int wake[2]; /* a pipe; a byte makes poll() return */
    struct pollfd *polled;       /* [capacity + 1], wake[0] first; the thread's own */
    struct watch_entry **owners; /* [capacity + 1] */
    size_t capacity;
};

static void wake_up(struct watch *watch) {
    ssize_t ignored = write(watch->wake[1], "", 1); /* a full pipe wakes just as well */
    (void)ignored;
}

static bool grow(struct watch *watch) {
    if (watch->count <= watch->capacity)
        return true;
    size_t wanted = watch->count * 2;
    struct pollfd *polled = realloc(watch->polled, (wanted + 1) * sizeof *polled);
    if (polled)
        watch->polled = polled;
    struct watch_entry **owners = realloc(watch->owners, (wanted + 1) * sizeof *owners);
    if (owners)
        watch->owners = owners;
    if (!polled || !owners)
        return false;
    watch->capacity = wanted;
    return true;
}

/* Under the lock. Entries that are known to be gone are not polled again. Without memory for all
 * of them the rest is looked at once there is. */
static nfds_t collect(struct watch *watch) {
    nfds_t count = 1;
    grow(watch);
    watch->polled[0] = (struct pollfd){.fd = watch->wake[0], .events = POLLIN};
    for (struct watch_entry *entry = watch->first[1]; entry; entry = entry->next) {
        if (entry->gone || count > watch->capacity)
            continue;
        watch->polled[count] = (struct pollfd){.fd = entry->fd, .events = POLLRDHUP};
        watch->owners[count++] = entry;
    }
    return count;
}

static void drain(int fd) {
    char bytes[256];
    while (read(fd, bytes, sizeof bytes) > 0) {
    }
}

/* Under the lock. An entry removed meanwhile may be freed, and its fd may be another's, so results
 * count only if nothing changed; poll() reports them again otherwise. */
static void report(struct watch *watch, nfds_t count, uint64_t changes) {
    if (changes != watch->changes)
        return;
    for (nfds_t i = 1; i < count; i++)
        if (watch->polled[i].revents) {
            watch->owners[i]->gone = 1;
            watch->owners[i]->on_gone(watch->owners[i]->context);
        }
}

static void tick(struct watch *watch) {
    for (int list = 0; list < 2; list++)
        for (struct watch_entry *entry = watch->first[list]; entry; entry = entry->next)
            if (entry->on_tick)
                entry->on_tick(entry->context);
}

static void *watch_main(void *context) {
    struct watch *watch = context;
    uint64_t next_tick = clock_now_ns() + TICK_NS;
    pthread_mutex_lock(&watch->lock);
    while (!watch->stop) {
        nfds_t count = collect(watch);
        uint64_t changes = watch->changes, now = clock_now_ns();
        bool empty = !watch->first[0] && !watch->first[1];
        int wait_ms = empty             ? -1
                      : now < next_tick ? (int)((next_tick - now) / 1000000 + 1)
                                        : 0;
        pthread_mutex_unlock(&watch->lock);
        int ready = poll(watch->polled, count, wait_ms);
        if (ready > 0 && watch->polled[0].revents)
            drain(watch->wake[0]);
        pthread_mutex_lock(&watch->lock);
        if (ready > 0)
            report(watch, count, changes);
        if (clock_now_ns() >= next_tick) {
            tick(watch);
            next_tick = clock_now_ns() + TICK_NS;
        }
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

static enum status open_pipe(struct watch *watch, struct error *err) {
    if (pipe(watch->wake) != 0)
        return error_set_errno(err, "cannot open a pipe");
    for (int i = 0; i < 2; i++) {
        fcntl(watch->wake[i], F_SETFL, O_NONBLOCK);
        fcntl(watch->wake[i], F_SETFD, FD_CLOEXEC);
    }
    return STATUS_OK;
}

static void release(struct watch *watch) {
    for (int i = 0; i < 2; i++)
        if (watch->wake[i] >= 0)
            close(watch->wake[i]);
    pthread_mutex_destroy(&watch->lock);
    free(watch->polled);
    free(watch->owners);
    free(watch);
}

enum status watch_create(struct watch **out, struct error *err) {
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return error_set(err, STATUS_NO_MEMORY, "no memory for watching connections");
    watch->wake[0] = watch->wake[1] = -1;
    watch->count = 64;
    pthread_mutex_init(&watch->lock, NULL);
    enum status status = grow(watch) ? open_pipe(watch, err)
                                     : error_set(err, STATUS_NO_MEMORY,
                                                 "no memory for watching connections");
    watch->count = 0;
    if (status == STATUS_OK) {
        errno = pthread_create(&watch->thread, NULL, watch_main, watch);
        if (errno)
            status = error_set_errno(err, "cannot start a thread");
    }
    if (status != STATUS_OK) {
        release(watch);
        return status;
    }
    *out = watch;
    return STATUS_OK;
}

void watch_destroy(struct watch *watch) {
    if (!watch)
        return;
    pthread_mutex_lock(&watch->lock);
    watch->stop = true;
    pthread_mutex_unlock(&watch->lock);
    wake_up(watch);
    pthread_join(watch->thread, NULL);
    release(watch);
}

void watch_add(struct watch *watch, struct watch_entry *entry) {
    pthread_mutex_lock(&watch->lock);
    struct watch_entry **first = &watch->first[entry->fd >= 0];
    bool asleep = !watch->first[0] && !watch->first[1]; /* without a time limit */
    entry->gone = 0;
    entry->previous = NULL;
    entry->next = *first;
    if (*first)
        (*first)->previous = entry;
    *first = entry;
    if (entry->fd >= 0) {
        watch->count++;
        watch->changes++;
    }
    pthread_mutex_unlock(&watch->lock);
    if (asleep || entry->fd >= 0)
        wake_up(watch);
}

void watch_remove(struct watch *watch, struct watch_entry *entry) {
    pthread_mutex_lock(&watch->lock);
    if (entry->previous)
        entry->previous->next = entry->next;
    else
        watch->first[entry->fd >= 0] = entry->next;
    if (entry->next)
        entry->next->previous = entry->previous;
    if (entry->fd >= 0) {
        watch->count--;
        watch->changes++;
    }
    pthread_mutex_unlock(&watch->lock);
}
