/* disconnects.h - notices clients that leave, and keeps time for those that stay.
 *
 * While a request waits for its story, the HTTP library does not look at its
 * connection. This thread does: it polls the sockets for the peer's end, and
 * calls every entry once a second. A client that shuts down its sending side
 * counts as gone, as with other servers.
 *
 * Safety: all functions may be called from any thread. on_gone and on_tick run
 * on the watch's thread under its lock, so after watch_remove() returns they
 * are not running and never will; they must be quick and must not call back.
 */
#ifndef ALPACA_SERVER_HTTP_DISCONNECTS_H
#define ALPACA_SERVER_HTTP_DISCONNECTS_H

#include "base/status.h"

struct watch;

/* An entry; memory of whoever adds it, untouched between watch_add() and watch_remove(). */
struct watch_entry {
    int fd; /* -1: only ticks */
    void (*on_gone)(void *context); /* once, when the peer has closed or reset */
    void (*on_tick)(void *context); /* about every second; may be NULL */
    void *context;
    struct watch_entry *previous, *next; /* the watch's own */
    int gone;
};

enum status watch_create(struct watch **watch, struct error *err);
void watch_destroy(struct watch *watch); /* NULL is allowed */
void watch_add(struct watch *watch, struct watch_entry *entry);
void watch_remove(struct watch *watch, struct watch_entry *entry);

#endif
