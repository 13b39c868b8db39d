#include "server/http/wakeups.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { REST_PER_CALL_NS = 333333 };

struct wakeups {
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below; held during calls, not during sleep */
    pthread_cond_t wake;  /* `first` for a thread that waits, or stop */
    struct wakeup *first, *last; /* of the next round, or of an unfinished one */
    int count;
    bool waits; /* for the first of a round, without a time limit */
    bool stop;
    atomic_bool unfinished; /* a round has begun, and only its first call was made */
};

static void unlink_wakeup(struct wakeups *wakeups, struct wakeup *wakeup) {
    *(wakeup->previous ? &wakeup->previous->next : &wakeups->first) = wakeup->next;
    *(wakeup->next ? &wakeup->next->previous : &wakeups->last) = wakeup->previous;
    wakeup->previous = wakeup->next = NULL;
    /* From now on it may be listed again: what comes during the call is not lost. */
    atomic_store(&wakeup->listed, false);
    wakeups->count--;
}

/* Under the lock, as all that call it. */
static void call_first(struct wakeups *wakeups) {
    struct wakeup *wakeup = wakeups->first;
    unlink_wakeup(wakeups, wakeup);
    wakeup->call(wakeup->context);
}

static void call_all(struct wakeups *wakeups) {
    atomic_store(&wakeups->unfinished, false);
    while (wakeups->first)
        call_first(wakeups);
}

/* Returns how many are in the round. */
static int begin_round(struct wakeups *wakeups) {
    int count = wakeups->count;
    if (atomic_load(&wakeups->unfinished)) { /* nobody has finished the round before */
        call_all(wakeups);
        return count;
    }
    atomic_store(&wakeups->unfinished, count > 1);
    call_first(wakeups);
    return count;
}

static uint64_t rest_ns(int calls) {
    const uint64_t least = WAKEUPS_REST_MS * 1000000u, most = WAKEUPS_MOST_REST_MS * 1000000u;
    uint64_t wanted = (uint64_t)calls * REST_PER_CALL_NS;
    return wanted < least ? least : wanted > most ? most : wanted;
}

static void sleep_until(uint64_t wanted_ns) {
    uint64_t now_ns = clock_now_ns();
    if (now_ns < wanted_ns)
        nanosleep(&(struct timespec){.tv_nsec = (long)(wanted_ns - now_ns)}, NULL);
}

/* After a round the thread sleeps before it looks again, so that a busy engine, which has output
 * before every round, never has to wake it. */
static void *run_rounds(void *context) {
    struct wakeups *wakeups = context;
    pthread_mutex_lock(&wakeups->lock);
    while (!wakeups->stop) {
        if (!wakeups->first) {
            wakeups->waits = true;
            pthread_cond_wait(&wakeups->wake, &wakeups->lock);
            continue;
        }
        uint64_t round_ns = clock_now_ns();
        int calls = begin_round(wakeups);
        pthread_mutex_unlock(&wakeups->lock);
        sleep_until(round_ns + rest_ns(calls));
        pthread_mutex_lock(&wakeups->lock);
    }
    pthread_mutex_unlock(&wakeups->lock);
    return NULL;
}

enum status wakeups_create(struct wakeups **out, struct error *err) {
    struct wakeups *wakeups = calloc(1, sizeof *wakeups);
    if (!wakeups)
        return error_set(err, STATUS_NO_MEMORY, "no memory for waking connections");
    pthread_mutex_init(&wakeups->lock, NULL);
    pthread_cond_init(&wakeups->wake, NULL);
    errno = pthread_create(&wakeups->thread, NULL, run_rounds, wakeups);
    if (errno) {
        enum status status = error_set_errno(err, "cannot start a thread");
        pthread_mutex_destroy(&wakeups->lock);
        pthread_cond_destroy(&wakeups->wake);
        free(wakeups);
        return status;
    }
    *out = wakeups;
    return STATUS_OK;
}

void wakeups_destroy(struct wakeups *wakeups) {
    if (!wakeups)
        return;
    pthread_mutex_lock(&wakeups->lock);
    assert(!wakeups->first);
    wakeups->stop = true;
    pthread_cond_signal(&wakeups->wake);
    pthread_mutex_unlock(&wakeups->lock);
    pthread_join(wakeups->thread, NULL);
    pthread_mutex_destroy(&wakeups->lock);
    pthread_cond_destroy(&wakeups->wake);
    free(wakeups);
}

void wakeups_add(struct wakeups *wakeups, struct wakeup *wakeup) {
    if (!atomic_exchange(&wakeup->added, true)) {
        wakeup->call(wakeup->context);
        return;
    }
    if (atomic_exchange(&wakeup->listed, true))
        return;
    pthread_mutex_lock(&wakeups->lock);
    wakeup->next = NULL;
    wakeup->previous = wakeups->last;
    *(wakeups->last ? &wakeups->last->next : &wakeups->first) = wakeup;
    wakeups->last = wakeup;
    wakeups->count++;
    if (wakeups->waits)
        pthread_cond_signal(&wakeups->wake);
    wakeups->waits = false;
    pthread_mutex_unlock(&wakeups->lock);
}

void wakeups_remove(struct wakeups *wakeups, struct wakeup *wakeup) {
    pthread_mutex_lock(&wakeups->lock);
    if (atomic_load(&wakeup->listed))
        unlink_wakeup(wakeups, wakeup);
    pthread_mutex_unlock(&wakeups->lock);
}

void wakeups_finish_round(struct wakeups *wakeups) {
    if (atomic_load(&wakeups->unfinished))
        wakeups_flush(wakeups);
}

void wakeups_flush(struct wakeups *wakeups) {
    pthread_mutex_lock(&wakeups->lock);
    call_all(wakeups);
    pthread_mutex_unlock(&wakeups->lock);
}
