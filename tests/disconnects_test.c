/* The watch: notices who leaves, forgets who was removed, keeps time. */
#include "server/http/disconnects.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct peer {
    int sockets[2]; /* ours, the peer's */
    atomic_int gone, ticks;
    struct watch_entry entry;
};

static void on_gone(void *context) {
    struct peer *peer = context;
    atomic_fetch_add(&peer->gone, 1);
}

static void on_tick(void *context) {
    struct peer *peer = context;
    atomic_fetch_add(&peer->ticks, 1);
}

static void peer_open(struct peer *peer) {
    *peer = (struct peer){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, peer->sockets), 0);
    peer->entry = (struct watch_entry){
        .fd = peer->sockets[0], .on_gone = on_gone, .on_tick = on_tick, .context = peer};
}

static void wait_for(atomic_int *value, int at_least) {
    while (atomic_load(value) < at_least)
        sched_yield();
}

static struct watch *open_watch(void) {
    struct watch *watch = NULL;
    struct error err = {0};
    if (watch_create(&watch, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return watch;
}

static void test_a_peer_that_closes_is_noticed_once(void **state) {
    (void)state;
    struct watch *watch = open_watch();
    struct peer leaves, stays;
    peer_open(&leaves);
    peer_open(&stays);
    watch_add(watch, &leaves.entry);
    watch_add(watch, &stays.entry);
    assert_int_equal(write(stays.sockets[1], "x", 1), 1); /* data is not leaving */
    close(leaves.sockets[1]);
    wait_for(&leaves.gone, 1);
    wait_for(&stays.ticks, 2); /* time enough for a second call, were there one */
    assert_int_equal(atomic_load(&leaves.gone), 1);
    assert_int_equal(atomic_load(&stays.gone), 0);
    watch_remove(watch, &leaves.entry);
    shutdown(stays.sockets[1], SHUT_WR); /* half a close counts */
    wait_for(&stays.gone, 1);
    watch_remove(watch, &stays.entry);
    close(leaves.sockets[0]);
    close(stays.sockets[0]);
    close(stays.sockets[1]);
    watch_destroy(watch);
}

static void test_who_was_removed_is_never_called(void **state) {
    (void)state;
    struct watch *watch = open_watch();
    for (int round = 0; round < 300; round++) {
        struct peer peer;
        peer_open(&peer);
        watch_add(watch, &peer.entry);
        if (round % 2)
            close(peer.sockets[1]);
        watch_remove(watch, &peer.entry);
        int gone = atomic_load(&peer.gone);
        if (!(round % 2)) {
            assert_int_equal(gone, 0);
            close(peer.sockets[1]);
        }
        sched_yield();
        assert_int_equal(atomic_load(&peer.gone), gone);
        close(peer.sockets[0]);
    }
    watch_destroy(watch);
}

static void test_many_peers(void **state) {
    (void)state;
    enum { PEERS = 300 }; /* more than the watch makes room for at first */
    static struct peer peers[PEERS];
    struct watch *watch = open_watch();
    for (int i = 0; i < PEERS; i++) {
        peer_open(&peers[i]);
        watch_add(watch, &peers[i].entry);
    }
    for (int i = 0; i < PEERS; i++)
        close(peers[i].sockets[1]);
    for (int i = 0; i < PEERS; i++) {
        wait_for(&peers[i].gone, 1);
        watch_remove(watch, &peers[i].entry);
        close(peers[i].sockets[0]);
    }
    watch_destroy(watch);
}

static void test_ticks_come_without_a_socket_too(void **state) {
    (void)state;
    struct watch *watch = open_watch();
    struct peer peer = {.sockets = {-1, -1}};
    peer.entry = (struct watch_entry){.fd = -1, .on_tick = on_tick, .context = &peer};
    watch_add(watch, &peer.entry);
    wait_for(&peer.ticks, 1);
    watch_remove(watch, &peer.entry);
    watch_destroy(watch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_peer_that_closes_is_noticed_once),
        cmocka_unit_test(test_who_was_removed_is_never_called),
        cmocka_unit_test(test_many_peers),
        cmocka_unit_test(test_ticks_come_without_a_socket_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
