/* The connection monitor notices clients that leave, forgets removed entries and ticks. */
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
    struct disconnects_entry entry;
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
    peer->entry = (struct disconnects_entry){
        .fd = peer->sockets[0], .on_gone = on_gone, .on_tick = on_tick, .context = peer};
}

static void wait_for(atomic_int *value, int at_least) {
    while (atomic_load(value) < at_least)
        sched_yield();
}

static struct disconnects *open_monitor(void) {
    struct disconnects *monitor = NULL;
    struct error err = {0};
    if (disconnects_create(&monitor, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return monitor;
}

static void test_a_peer_that_closes_is_noticed_once(void **state) {
    (void)state;
    struct disconnects *monitor = open_monitor();
    struct peer leaves, stays;
    peer_open(&leaves);
    peer_open(&stays);
    disconnects_add(monitor, &leaves.entry);
    disconnects_add(monitor, &stays.entry);
    assert_int_equal(write(stays.sockets[1], "x", 1), 1); /* data is not leaving */
    close(leaves.sockets[1]);
    wait_for(&leaves.gone, 1);
    wait_for(&stays.ticks, 2); /* time enough for a second call, were there one */
    assert_int_equal(atomic_load(&leaves.gone), 1);
    assert_int_equal(atomic_load(&stays.gone), 0);
    disconnects_remove(monitor, &leaves.entry);
    shutdown(stays.sockets[1], SHUT_WR); /* half a close counts */
    wait_for(&stays.gone, 1);
    disconnects_remove(monitor, &stays.entry);
    close(leaves.sockets[0]);
    close(stays.sockets[0]);
    close(stays.sockets[1]);
    disconnects_destroy(monitor);
}

static void test_who_was_removed_is_never_called(void **state) {
    (void)state;
    struct disconnects *monitor = open_monitor();
    for (int round = 0; round < 300; round++) {
        struct peer peer;
        peer_open(&peer);
        disconnects_add(monitor, &peer.entry);
        if (round % 2)
            close(peer.sockets[1]);
        disconnects_remove(monitor, &peer.entry);
        int gone = atomic_load(&peer.gone);
        if (!(round % 2)) {
            assert_int_equal(gone, 0);
            close(peer.sockets[1]);
        }
        sched_yield();
        assert_int_equal(atomic_load(&peer.gone), gone);
        close(peer.sockets[0]);
    }
    disconnects_destroy(monitor);
}

static void test_three_hundred_peers_are_all_noticed(void **state) {
    (void)state;
    enum { PEERS = 300 }; /* more than the monitor makes room for at first */
    static struct peer peers[PEERS];
    struct disconnects *monitor = open_monitor();
    for (int i = 0; i < PEERS; i++) {
        peer_open(&peers[i]);
        disconnects_add(monitor, &peers[i].entry);
    }
    for (int i = 0; i < PEERS; i++)
        close(peers[i].sockets[1]);
    for (int i = 0; i < PEERS; i++) {
        wait_for(&peers[i].gone, 1);
        disconnects_remove(monitor, &peers[i].entry);
        close(peers[i].sockets[0]);
    }
    disconnects_destroy(monitor);
}

static void test_ticks_come_without_a_socket_too(void **state) {
    (void)state;
    struct disconnects *monitor = open_monitor();
    struct peer peer = {.sockets = {-1, -1}};
    peer.entry = (struct disconnects_entry){.fd = -1, .on_tick = on_tick, .context = &peer};
    disconnects_add(monitor, &peer.entry);
    wait_for(&peer.ticks, 1);
    disconnects_remove(monitor, &peer.entry);
    disconnects_destroy(monitor);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_peer_that_closes_is_noticed_once),
        cmocka_unit_test(test_who_was_removed_is_never_called),
        cmocka_unit_test(test_three_hundred_peers_are_all_noticed),
        cmocka_unit_test(test_ticks_come_without_a_socket_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
