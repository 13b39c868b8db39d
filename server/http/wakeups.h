/* wakeups.h - wakes connections in rounds.
 *
 * A step of the engine has a token for every stream, and each of them wants its
 * connection woken. One by one, as they come, these calls would take a good part
 * of the machine from the engine. So they are collected, and made in rounds. A
 * thread begins a round with one call; the connection's thread, which that call
 * wakes, makes the others, so that it is woken once and finds them all. The first
 * thread then rests: 4 ms, or with many calls a third of a millisecond for each of
 * them, up to 9 ms, so that the cost of rounds stays a small share. When the last
 * round was longer ago than that, the next begins at once. Output that came for a
 * stream in between is then sent as one piece. A stream's very first wakeup does
 * not wait for a round.
 *
 * Ownership: whoever creates the wakeups destroys them; a wakeup is memory of
 * whoever adds it. Safety: all functions but create and destroy may be called from
 * any thread. Calls in rounds come from the thread, or from the caller of
 * wakeups_finish_round() or wakeups_flush(), under a lock: they must be quick and
 * must not call these functions, and who calls these functions may hold no lock
 * that they take.
 */
#ifndef ALPACA_SERVER_HTTP_WAKEUPS_H
#define ALPACA_SERVER_HTTP_WAKEUPS_H

#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { WAKEUPS_REST_MS = 4, WAKEUPS_MOST_REST_MS = 9 };

struct wakeups;

/* Zeroed but for the first two before its first wakeups_add(). */
struct wakeup {
    void (*call)(void *context);
    void *context;
    struct wakeup *previous, *next; /* while listed for the next round */
    atomic_bool listed, added;
};

enum status wakeups_create(struct wakeups **wakeups, struct error *err);
/* Nothing may be listed any more. NULL is allowed. */
void wakeups_destroy(struct wakeups *wakeups);
/* Makes the call: now, when it is the first time; else in the next round, once, however often it
 * is added until then. Takes the lock once, or not at all when it is listed already. */
void wakeups_add(struct wakeups *wakeups, struct wakeup *wakeup);
/* After this the call is not running and will not come. No wakeups_add() of it may be running. */
void wakeups_remove(struct wakeups *wakeups, struct wakeup *wakeup);
/* For whoever was woken: makes the calls that are left of a round; costs nothing when none are.
 * What nobody finishes is called when the next round would begin. */
void wakeups_finish_round(struct wakeups *wakeups);
/* Makes all calls now. */
void wakeups_flush(struct wakeups *wakeups);

#endif
