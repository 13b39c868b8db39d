/* The herald: loses no news, keeps to its rounds, and calls nobody who was removed. */
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
    struct wakeups *herald;
    struct wakeup entry;
    atomic_int news, heard, calls;
    int *order; /* counts calls of several listeners; may be NULL */
    int place;
};

static void on_call(void *context) {
    struct listener *listener = context;
    atomic_store(&listener->heard, atomic_load(&listener->news));
    atomic_fetch_add(&listener->calls, 1);
    if (listener->order)
        listener->place = ++*listener->order;
}

static void listen_to(struct listener *listener, struct wakeups *herald) {
    *listener = (struct listener){.herald = herald};
    listener->entry = (struct wakeup){.call = on_call, .context = listener};
}

static struct wakeups *open_herald(void) {
    struct wakeups *herald = NULL;
    struct error err = {0};
    if (wakeups_create(&herald, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return herald;
}

enum { SPEAKERS = 3, LISTENERS = 16, NEWS = 3000 };

static void *speak(void *context) {
    struct listener *listeners = context;
    for (int i = 0; i < NEWS; i++)
        for (int l = 0; l < LISTENERS; l++) {
            atomic_fetch_add(&listeners[l].news, 1);
            wakeups_add(listeners[l].herald, &listeners[l].entry);
        }
    return NULL;
}

static void test_the_last_news_are_heard_and_rounds_are_kept(void **state) {
    (void)state;
    struct wakeups *herald = open_herald();
    struct listener listeners[LISTENERS];
    pthread_t speakers[SPEAKERS];
    for (int l = 0; l < LISTENERS; l++)
        listen_to(&listeners[l], herald);
    uint64_t start_ns = clock_now_ns();
    for (int s = 0; s < SPEAKERS; s++)
        assert_int_equal(pthread_create(&speakers[s], NULL, speak, listeners), 0);
    for (int s = 0; s < SPEAKERS; s++)
        pthread_join(speakers[s], NULL);
    for (int l = 0; l < LISTENERS; l++)
        while (atomic_load(&listeners[l].heard) < SPEAKERS * NEWS)
            sched_yield();
    uint64_t rounds = (clock_now_ns() - start_ns) / (HERALD_REST_MS * 1000000u) + 2;
    for (int l = 0; l < LISTENERS; l++)
        assert_in_range((uint64_t)atomic_load(&listeners[l].calls), 1, rounds);
    for (int l = 0; l < LISTENERS; l++)
        wakeups_remove(herald, &listeners[l].entry);
    wakeups_destroy(herald);
}

static void test_who_was_removed_is_never_called(void **state) {
    (void)state;
    struct wakeups *herald = open_herald();
    struct listener stays;
    listen_to(&stays, herald);
    for (int i = 0; i < 200; i++) {
        struct listener leaves;
        listen_to(&leaves, herald);
        wakeups_add(herald, &stays.entry);
        wakeups_add(herald, &leaves.entry);
        wakeups_remove(herald, &leaves.entry);
        int calls = atomic_load(&leaves.calls);
        atomic_store(&stays.news, i + 1);
        wakeups_add(herald, &stays.entry); /* a round comes after this, without the other */
        if (i % 20 == 0)
            while (atomic_load(&stays.heard) < i + 1)
                sched_yield();
        assert_int_equal(atomic_load(&leaves.calls), calls);
    }
    wakeups_remove(herald, &stays.entry);
    wakeups_remove(herald, &stays.entry); /* twice is harmless */
    wakeups_destroy(herald);
}

static void test_a_flush_calls_everybody_in_order(void **state) {
    (void)state;
    struct wakeups *herald = open_herald();
    struct listener listeners[LISTENERS];
    int order = 0;
    for (int l = 0; l < LISTENERS; l++) {
        listen_to(&listeners[l], herald);
        listeners[l].order = &order; /* under the herald's lock */
    }
    for (int l = 0; l < LISTENERS; l++)
        wakeups_add(herald, &listeners[l].entry);
    wakeups_flush(herald);
    for (int l = 0; l < LISTENERS; l++) {
        assert_int_equal(atomic_load(&listeners[l].calls), 1);
        assert_int_equal(listeners[l].place, l + 1);
    }
    wakeups_destroy(herald);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_news_are_heard_and_rounds_are_kept),
        cmocka_unit_test(test_who_was_removed_is_never_called),
        cmocka_unit_test(test_a_flush_calls_everybody_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
