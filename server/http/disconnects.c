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
#define POLLRDHUP 0 /* other systems report POLLHUP, which need not be asked for */
#endif

#define TICK_NS 1000000000u

struct disconnects {
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below; held during callbacks, not during poll() */
    struct disconnects_entry *first[2]; /* lists of the entries without and with an fd */
    size_t count;                       /* entries with an fd */
    uint64_t changes; /* entries with an fd that were ever added or removed */
    bool stop;
    int wake[2]; /* a pipe; a byte in it makes poll() return */
    struct pollfd *polled; /* [capacity + 1], wake[0] first; only the monitor's thread uses it */
    struct disconnects_entry **owners; /* [capacity + 1], of the entries in `polled` */
    size_t capacity;
};

static void wake_up(struct disconnects *monitor) {
    ssize_t ignored = write(monitor->wake[1], "", 1); /* a full pipe wakes poll() too */
    (void)ignored;
}

static bool grow(struct disconnects *monitor) {
    if (monitor->count <= monitor->capacity)
        return true;
    size_t wanted = monitor->count * 2;
    struct pollfd *polled = realloc(monitor->polled, (wanted + 1) * sizeof *polled);
    if (polled)
        monitor->polled = polled;
    struct disconnects_entry **owners = realloc(monitor->owners, (wanted + 1) * sizeof *owners);
    if (owners)
        monitor->owners = owners;
    if (!polled || !owners)
        return false;
    monitor->capacity = wanted;
    return true;
}

/* Under the lock. Entries whose peer has left are not polled again. Entries that there is no memory
 * for are polled as soon as there is. */
static nfds_t collect(struct disconnects *monitor) {
    nfds_t count = 1;
    grow(monitor);
    monitor->polled[0] = (struct pollfd){.fd = monitor->wake[0], .events = POLLIN};
    for (struct disconnects_entry *entry = monitor->first[1]; entry; entry = entry->next) {
        if (entry->gone || count > monitor->capacity)
            continue;
        monitor->polled[count] = (struct pollfd){.fd = entry->fd, .events = POLLRDHUP};
        monitor->owners[count++] = entry;
    }
    return count;
}

static void drain(int fd) {
    char bytes[256];
    while (read(fd, bytes, sizeof bytes) > 0) {
    }
}

/* Under the lock. An entry that was removed during poll() may be freed, and its fd may be another
 * connection's, so results count only if nothing was added or removed. The next poll() reports
 * them again. */
static void report(struct disconnects *monitor, nfds_t count, uint64_t changes) {
    if (changes != monitor->changes)
        return;
    for (nfds_t i = 1; i < count; i++)
        if (monitor->polled[i].revents) {
            monitor->owners[i]->gone = 1;
            monitor->owners[i]->on_gone(monitor->owners[i]->context);
        }
}

static void tick(struct disconnects *monitor) {
    for (int list = 0; list < 2; list++)
        for (struct disconnects_entry *entry = monitor->first[list]; entry; entry = entry->next)
            if (entry->on_tick)
                entry->on_tick(entry->context);
}

static void *disconnects_main(void *context) {
    struct disconnects *monitor = context;
    uint64_t next_tick = clock_now_ns() + TICK_NS;
    pthread_mutex_lock(&monitor->lock);
    while (!monitor->stop) {
        nfds_t count = collect(monitor);
        uint64_t changes = monitor->changes, now = clock_now_ns();
        bool empty = !monitor->first[0] && !monitor->first[1];
        int wait_ms = empty             ? -1
                      : now < next_tick ? (int)((next_tick - now) / 1000000 + 1)
                                        : 0;
        pthread_mutex_unlock(&monitor->lock);
        int ready = poll(monitor->polled, count, wait_ms);
        if (ready > 0 && monitor->polled[0].revents)
            drain(monitor->wake[0]);
        pthread_mutex_lock(&monitor->lock);
        if (ready > 0)
            report(monitor, count, changes);
        if (clock_now_ns() >= next_tick) {
            tick(monitor);
            next_tick = clock_now_ns() + TICK_NS;
        }
    }
    pthread_mutex_unlock(&monitor->lock);
    return NULL;
}

static enum status open_pipe(struct disconnects *monitor, struct error *err) {
    if (pipe(monitor->wake) != 0)
        return error_set_errno(err, "cannot open a pipe");
    for (int i = 0; i < 2; i++) {
        fcntl(monitor->wake[i], F_SETFL, O_NONBLOCK);
        fcntl(monitor->wake[i], F_SETFD, FD_CLOEXEC);
    }
    return STATUS_OK;
}

static void release(struct disconnects *monitor) {
    for (int i = 0; i < 2; i++)
        if (monitor->wake[i] >= 0)
            close(monitor->wake[i]);
    pthread_mutex_destroy(&monitor->lock);
    free(monitor->polled);
    free(monitor->owners);
    free(monitor);
}

enum status disconnects_create(struct disconnects **out, struct error *err) {
    struct disconnects *monitor = calloc(1, sizeof *monitor);
    if (!monitor)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the connection monitor");
    monitor->wake[0] = monitor->wake[1] = -1;
    monitor->count = 64;
    pthread_mutex_init(&monitor->lock, NULL);
    enum status status = grow(monitor) ? open_pipe(monitor, err)
                                     : error_set(err, STATUS_NO_MEMORY,
                                                 "no memory for the connection monitor");
    monitor->count = 0;
    if (status == STATUS_OK) {
        errno = pthread_create(&monitor->thread, NULL, disconnects_main, monitor);
        if (errno)
            status = error_set_errno(err, "cannot start a thread");
    }
    if (status != STATUS_OK) {
        release(monitor);
        return status;
    }
    *out = monitor;
    return STATUS_OK;
}

void disconnects_destroy(struct disconnects *monitor) {
    if (!monitor)
        return;
    pthread_mutex_lock(&monitor->lock);
    monitor->stop = true;
    pthread_mutex_unlock(&monitor->lock);
    wake_up(monitor);
    pthread_join(monitor->thread, NULL);
    release(monitor);
}

void disconnects_add(struct disconnects *monitor, struct disconnects_entry *entry) {
    pthread_mutex_lock(&monitor->lock);
    struct disconnects_entry **first = &monitor->first[entry->fd >= 0];
    bool empty = !monitor->first[0] && !monitor->first[1]; /* then poll() has no time limit */
    entry->gone = 0;
    entry->previous = NULL;
    entry->next = *first;
    if (*first)
        (*first)->previous = entry;
    *first = entry;
    if (entry->fd >= 0) {
        monitor->count++;
        monitor->changes++;
    }
    pthread_mutex_unlock(&monitor->lock);
    if (empty || entry->fd >= 0)
        wake_up(monitor);
}

void disconnects_remove(struct disconnects *monitor, struct disconnects_entry *entry) {
    pthread_mutex_lock(&monitor->lock);
    if (entry->previous)
        entry->previous->next = entry->next;
    else
        monitor->first[entry->fd >= 0] = entry->next;
    if (entry->next)
        entry->next->previous = entry->previous;
    if (entry->fd >= 0) {
        monitor->count--;
        monitor->changes++;
    }
    pthread_mutex_unlock(&monitor->lock);
}
