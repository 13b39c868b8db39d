/* disconnects.h - the connection monitor: notices clients that leave, and calls back once a second.
 *
 * While a request waits for its story, the HTTP library does not look at its
 * connection. The monitor's thread does: it polls the sockets for the peer's
 * end. A client that shuts down its sending side counts as gone, as with other
 * servers. Once a second the thread calls every entry, for timeouts and pings.
 *
 * Ownership: whoever creates the monitor destroys it, when no entry is left.
 * Entries belong to whoever adds them. Thread-safe: all functions may be called
 * from any thread. on_gone and on_tick run on the monitor's thread under its
 * lock, so once disconnects_remove() returns they are not running and never
 * will; they must be quick and must not call these functions.
 */
#ifndef ALPACA_SERVER_HTTP_DISCONNECTS_H
#define ALPACA_SERVER_HTTP_DISCONNECTS_H

#include "base/status.h"

struct disconnects;

/* A connection, or just a caller that wants ticks. Its owner leaves it alone between
 * disconnects_add() and disconnects_remove(). */
struct disconnects_entry {
    int fd; /* -1: only ticks */
    void (*on_gone)(void *context); /* once, when the peer has closed or reset */
    void (*on_tick)(void *context); /* about every second; may be NULL */
    void *context;
    struct disconnects_entry *previous, *next; /* the monitor's own, like `gone` */
    int gone;
};

/* Starts the thread. */
enum status disconnects_create(struct disconnects **monitor, struct error *err);
void disconnects_destroy(struct disconnects *monitor); /* NULL is allowed */
void disconnects_add(struct disconnects *monitor, struct disconnects_entry *entry);
void disconnects_remove(struct disconnects *monitor, struct disconnects_entry *entry);

#endif
