/* http_internal.h - what the files of server/http/ share.
 *
 * Threads: a transaction and its connection belong to one of libmicrohttpd's
 * threads; the scheduler's (http_wake), the wakeups' and the monitor's come in
 * from outside and touch only what `lock` guards, and the atomics.
 * Lock order: request or monitor, then wakeups, then transaction, then
 * libmicrohttpd's own.
 * For a token of a stream the scheduler's thread takes at most three locks: its
 * own, once a step; the request's, for on_output; and that of the wakeups or,
 * for the first token and the end, of the transaction.
 */
#ifndef ALPACA_SERVER_HTTP_HTTP_INTERNAL_H
#define ALPACA_SERVER_HTTP_HTTP_INTERNAL_H

#include "server/api/transaction.h"
#include "server/http/daemon.h"
#include "server/http/disconnects.h"
#include "server/http/wakeups.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

/* A name may have several addresses, and localhost has two; each has a daemon of its own. */
enum { HTTP_LISTENERS = 8 };
struct http_listener {
    int fd;
    struct MHD_Daemon *daemon; /* owns fd; NULL before the start */
};

struct http_server {
    struct service *service;
    struct http_listener listeners[HTTP_LISTENERS];
    int listener_count;
    struct disconnects *disconnects;
    struct wakeups *wakeups;
    struct MHD_Response *no_memory; /* for when there is none to make an answer */
    char url[128];
    atomic_int active; /* transactions between their headers and the end of their answer */
};

/* One client's connection, from accept to close. */
struct http_connection {
    struct http_server *server;
    int fd;
    _Atomic uint64_t deadline_ns; /* for the next or current request to be complete; 0: none */
    struct disconnects_entry ticks;
    int ended_ticks; /* ticks in a row that found the peer's end; used by the monitor's thread */
};

struct http_transaction {
    struct transaction base;
    struct http_server *server;
    struct MHD_Connection *connection;
    struct http_connection *client; /* NULL when memory ran out at accept */
    bool begun;     /* its headers have arrived */
    bool malformed; /* its target is */
    size_t target_bytes;
    uint64_t discarded_bytes;

    pthread_mutex_t lock; /* guards the next two */
    bool pending;         /* there may be output that nobody has looked at */
    bool suspended;
    atomic_bool ping;     /* the stream has been silent for long */
    struct wakeup wakeup;

    struct disconnects_entry disconnects;
    bool monitored;
    atomic_bool gone; /* the client has left */

    /* A stream's state, on the connection's thread. */
    struct buffer out;
    size_t out_sent;
    bool over, cut; /* everything is in `out`; and the connection is to be broken off then */
    uint64_t bytes_sent;
    _Atomic uint64_t sent_ns; /* when the stream last sent something */
};

/* A request's first line, as the library has read it. */
struct http_line {
    const char *method, *url, *version;
};

/* Characters of a method, a header's name and the like (RFC 9110, 5.6.2). */
#define HTTP_TOKEN_CHARACTERS                                                                      \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"
/* Checks a request's head, cuts off the blanks behind its headers' values, and finds the path and
 * base.authority. False when it is refused, with an answer that must be sent at once, since where
 * the next request would begin is not certain (framing.c). */
bool http_read_head(struct http_transaction *transaction, const struct http_line *line,
                    const char **path);
bool http_target_is_malformed(const char *target);

/* libmicrohttpd's callbacks: a request's first line, its headers, body and end (transaction.c). */
size_t http_unescape(void *context, struct MHD_Connection *connection, char *text);
void *http_expect(void *server, const char *target, struct MHD_Connection *connection);
enum MHD_Result http_handle(void *server, struct MHD_Connection *connection, const char *url,
                            const char *method, const char *version, const char *upload,
                            size_t *upload_bytes, void **state);
void http_completed(void *server, struct MHD_Connection *connection, void **state,
                    enum MHD_RequestTerminationCode code);
/* Ditto, for connections (connection.c). */
void http_connection_notify(void *server, struct MHD_Connection *connection, void **context,
                            enum MHD_ConnectionNotificationCode code);

/* Opens the listeners and sets the URL and whether only this machine can reach them (listen.c). */
enum status http_listen(struct http_server *server, struct error *err);

struct http_connection *http_connection_of(struct MHD_Connection *connection);
int http_connection_fd(struct MHD_Connection *connection);
/* The next request may take its time to begin, a begun one less to arrive, an arrived one is
 * answered when it is. */
void http_connection_awaits_request(struct http_connection *client);
void http_connection_awaits_body(struct http_connection *client);
void http_connection_works(struct http_connection *client);

/* Suspends until http_wake(). False when there may be output to look at now; then it has also
 * woken the others of a round. */
bool http_sleep(struct http_transaction *transaction);
/* At once the first time and at a choice's end; in between in the wakeups' rounds. */
void http_wake(void *transaction, bool choice_ended);

/* An answer that needs no memory. */
enum MHD_Result http_answer_no_memory(struct http_server *server,
                                      struct MHD_Connection *connection);
/* Makes it; NULL when there is no memory even now. */
struct MHD_Response *http_make_no_memory(void);
/* Queue the answer, or the stream of a transaction's completions (answer.c, stream.c). */
enum MHD_Result http_answer(struct http_transaction *transaction);
enum MHD_Result http_stream(struct http_transaction *transaction);
void http_add_headers(struct http_transaction *transaction, struct MHD_Response *response);

#endif
