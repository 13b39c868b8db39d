/* Wakeups: none is lost, rounds are kept, and nobody who was removed is called. */
#include "server/http/wakeups.h"

#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct listener {
    struct wakeups *wakeups;
    struct wakeup wakeup;
    atomic_int sent, received, calls;
    int *order; /* counts calls of several listeners; may be NULL */
    int place;
};

static void on_call(void *context) {
    struct listener *listener = context;
    atomic_store(&listener->received, atomic_load(&listener->sent));
    atomic_fetch_add(&listener->calls, 1);
    if (listener->order)
        listener->place = ++*listener->order;
}

static void listen_to(struct listener *listener, struct wakeups *wakeups) {
    *listener = (struct listener){.wakeups = wakeups};
    listener->wakeup = (struct wakeup){.call = on_call, .context = listener};
    wakeups_add(wakeups, &listener->wakeup); /* the first, which waits for no round */
    assert_int_equal(atomic_exchange(&listener->calls, 0), 1);
}

static struct wakeups *open_wakeups(void) {
    struct wakeups *wakeups = NULL;
    struct error err = {0};
    if (wakeups_create(&wakeups, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return wakeups;
}

enum { SPEAKERS = 3, LISTENERS = 16, COUNT = 3000 };

static void *speak(void *context) {
    struct listener *listeners = context;
    for (int i = 0; i < COUNT; i++)
        for (int l = 0; l < LISTENERS; l++) {
            atomic_fetch_add(&listeners[l].sent, 1);
            wakeups_add(listeners[l].wakeups, &listeners[l].wakeup);
        }
    return NULL;
}

static void test_the_last_is_received_and_rounds_are_kept(void **state) {
    (void)state;
    struct wakeups *wakeups = open_wakeups();
    struct listener listeners[LISTENERS];
    pthread_t speakers[SPEAKERS];
    for (int l = 0; l < LISTENERS; l++)
        listen_to(&listeners[l], wakeups);
    uint64_t start_ns = clock_now_ns();
    for (int s = 0; s < SPEAKERS; s++)
        assert_int_equal(pthread_create(&speakers[s], NULL, speak, listeners), 0);
    for (int s = 0; s < SPEAKERS; s++)
        pthread_join(speakers[s], NULL);
    for (int l = 0; l < LISTENERS; l++)
        while (atomic_load(&listeners[l].received) < SPEAKERS * COUNT)
            sched_yield();
    uint64_t rounds = (clock_now_ns() - start_ns) / (WAKEUPS_REST_MS * 1000000u) + 2;
    for (int l = 0; l < LISTENERS; l++)
        assert_in_range((uint64_t)atomic_load(&listeners[l].calls), 1, rounds);
    for (int l = 0; l < LISTENERS; l++)
        wakeups_remove(wakeups, &listeners[l].wakeup);
    wakeups_destroy(wakeups);
}

static void test_who_was_removed_is_never_called(void **state) {
    (void)state;
    struct wakeups *wakeups = open_wakeups();
    struct listener stays;
    listen_to(&stays, wakeups);
    for (int i = 0; i < 200; i++) {
        struct listener leaves;
        listen_to(&leaves, wakeups);
        wakeups_add(wakeups, &stays.wakeup);
        wakeups_add(wakeups, &leaves.wakeup);
        wakeups_remove(wakeups, &leaves.wakeup);
        int calls = atomic_load(&leaves.calls);
        atomic_store(&stays.sent, i + 1);
        wakeups_add(wakeups, &stays.wakeup); /* a round comes after this, without the other */
        if (i % 20 == 0)
            while (atomic_load(&stays.received) < i + 1)
                sched_yield();
        assert_int_equal(atomic_load(&leaves.calls), calls);
    }
    wakeups_remove(wakeups, &stays.wakeup);
    wakeups_remove(wakeups, &stays.wakeup); /* twice is harmless */
    wakeups_destroy(wakeups);
}

/* The thread begins a round with one call; the others come from whoever finishes it, or with the
 * next round. */
static void test_a_round_is_finished_once(void **state) {
    (void)state;
    struct wakeups *wakeups = open_wakeups();
    struct listener listeners[LISTENERS];
    for (int l = 0; l < LISTENERS; l++)
        listen_to(&listeners[l], wakeups);
    for (int round = 1; round <= 8; round++) {
        for (int l = 0; l < LISTENERS; l++)
            wakeups_add(wakeups, &listeners[l].wakeup);
        while (atomic_load(&listeners[0].calls) < round)
            sched_yield();
        if (round % 2 == 0)
            wakeups_finish_round(wakeups);
        for (int l = 0; l < LISTENERS; l++) {
            while (atomic_load(&listeners[l].calls) < round)
                sched_yield();
            assert_int_equal(atomic_load(&listeners[l].calls), round);
        }
    }
    wakeups_destroy(wakeups);
}

static void test_a_flush_calls_everybody_in_order(void **state) {
    (void)state;
    struct wakeups *wakeups = open_wakeups();
    struct listener listeners[LISTENERS];
    int order = 0;
    for (int l = 0; l < LISTENERS; l++) {
        listen_to(&listeners[l], wakeups);
        listeners[l].order = &order; /* under the lock of the wakeups */
    }
    for (int l = 0; l < LISTENERS; l++)
        wakeups_add(wakeups, &listeners[l].wakeup);
    wakeups_flush(wakeups);
    for (int l = 0; l < LISTENERS; l++) {
        assert_int_equal(atomic_load(&listeners[l].calls), 1);
        assert_int_equal(listeners[l].place, l + 1);
    }
    wakeups_destroy(wakeups);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_is_received_and_rounds_are_kept),
        cmocka_unit_test(test_who_was_removed_is_never_called),
        cmocka_unit_test(test_a_round_is_finished_once),
        cmocka_unit_test(test_a_flush_calls_everybody_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
