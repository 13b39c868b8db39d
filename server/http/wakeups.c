#include "server/http/wakeups.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { REST_PER_CALL_NS = 333333 };

struct herald {
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below; held during calls, not during sleep */
    pthread_cond_t wake;  /* news for a herald that waits, or stop */
    struct herald_entry *first, *last;
    bool waits; /* for news, without a time limit */
    bool stop;
};

static void unlink_entry(struct herald *herald, struct herald_entry *entry) {
    *(entry->previous ? &entry->previous->next : &herald->first) = entry->next;
    *(entry->next ? &entry->next->previous : &herald->last) = entry->previous;
    entry->previous = entry->next = NULL;
    entry->listed = false;
}

/* Under the lock. Returns how many. */
static int call_all(struct herald *herald) {
    int count = 0;
    for (; herald->first; count++) {
        struct herald_entry *entry = herald->first;
        unlink_entry(herald, entry);
        entry->call(entry->context);
    }
    return count;
}

static uint64_t rest_ns(int calls) {
    const uint64_t least = HERALD_REST_MS * 1000000u, most = HERALD_MOST_REST_MS * 1000000u;
    uint64_t wanted = (uint64_t)calls * REST_PER_CALL_NS;
    return wanted < least ? least : wanted > most ? most : wanted;
}

static void sleep_until(uint64_t wanted_ns) {
    uint64_t now_ns = clock_now_ns();
    if (now_ns < wanted_ns)
        nanosleep(&(struct timespec){.tv_nsec = (long)(wanted_ns - now_ns)}, NULL);
}

/* After a round the herald sleeps before it looks again, so that a busy engine, which has news
 * before every round, never has to wake it. */
static void *herald_main(void *context) {
    struct herald *herald = context;
    pthread_mutex_lock(&herald->lock);
    while (!herald->stop) {
        if (!herald->first) {
            herald->waits = true;
            pthread_cond_wait(&herald->wake, &herald->lock);
            continue;
        }
        uint64_t round_ns = clock_now_ns();
        int calls = call_all(herald);
        pthread_mutex_unlock(&herald->lock);
        sleep_until(round_ns + rest_ns(calls));
        pthread_mutex_lock(&herald->lock);
    }
    pthread_mutex_unlock(&herald->lock);
    return NULL;
}

enum status herald_create(struct herald **out, struct error *err) {
    struct herald *herald = calloc(1, sizeof *herald);
    if (!herald)
        return error_set(err, STATUS_NO_MEMORY, "no memory for passing on news");
    pthread_mutex_init(&herald->lock, NULL);
    pthread_cond_init(&herald->wake, NULL);
    errno = pthread_create(&herald->thread, NULL, herald_main, herald);
    if (errno) {
        enum status status = error_set_errno(err, "cannot start a thread");
        pthread_mutex_destroy(&herald->lock);
        pthread_cond_destroy(&herald->wake);
        free(herald);
        return status;
    }
    *out = herald;
    return STATUS_OK;
}

void herald_destroy(struct herald *herald) {
    if (!herald)
        return;
    pthread_mutex_lock(&herald->lock);
    assert(!herald->first);
    herald->stop = true;
    pthread_cond_signal(&herald->wake);
    pthread_mutex_unlock(&herald->lock);
    pthread_join(herald->thread, NULL);
    pthread_mutex_destroy(&herald->lock);
    pthread_cond_destroy(&herald->wake);
    free(herald);
}

void herald_add(struct herald *herald, struct herald_entry *entry) {
    pthread_mutex_lock(&herald->lock);
    if (!entry->listed) {
        entry->listed = true;
        entry->next = NULL;
        entry->previous = herald->last;
        *(herald->last ? &herald->last->next : &herald->first) = entry;
        herald->last = entry;
        if (herald->waits)
            pthread_cond_signal(&herald->wake);
        herald->waits = false;
    }
    pthread_mutex_unlock(&herald->lock);
}

void herald_remove(struct herald *herald, struct herald_entry *entry) {
    pthread_mutex_lock(&herald->lock);
    if (entry->listed)
        unlink_entry(herald, entry);
    pthread_mutex_unlock(&herald->lock);
}

void herald_flush(struct herald *herald) {
    pthread_mutex_lock(&herald->lock);
    call_all(herald);
    pthread_mutex_unlock(&herald->lock);
}
