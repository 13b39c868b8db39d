#include "server/http/http_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>

#define SECOND_NS 1000000000u

int http_connection_fd(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? (int)info->connect_fd : -1;
}

struct http_connection *http_connection_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void set_deadline(struct http_connection *client, int seconds) {
    uint64_t deadline_ns = seconds ? clock_now_ns() + (uint64_t)seconds * SECOND_NS : 0;
    if (client)
        atomic_store(&client->deadline_ns, deadline_ns);
}

void http_connection_awaits_request(struct http_connection *client) {
    if (client)
        set_deadline(client, client->server->service->options.idle_timeout_s +
                                 client->server->service->options.request_timeout_s);
}

void http_connection_awaits_body(struct http_connection *client) {
    if (client)
        set_deadline(client, client->server->service->options.request_timeout_s);
}

void http_connection_works(struct http_connection *client) {
    set_deadline(client, 0);
}

/* libmicrohttpd can miss that a client has left: when the end of the connection comes right behind
 * the last bytes, it reads those and gets no further event from epoll. The end must be seen at two
 * ticks in a row, so that a request whose last bytes are being read now still gets its answer. */
static bool has_left(struct http_connection *client) {
    char byte;
    ssize_t count = recv(client->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    bool ended = count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
    client->ended_ticks = ended ? client->ended_ticks + 1 : 0;
    return client->ended_ticks >= 2;
}

/* Closes a connection whose request does not arrive in time. libmicrohttpd's own timeout begins
 * again with every byte, so a client that sends them one by one would stay for ever. Shutting the
 * socket down makes the library see its end and clean up. Closing it here would not do: the library
 * may have closed it already, and its number may be another connection's. */
static void on_tick(void *context) {
    struct http_connection *client = context;
    uint64_t deadline_ns = atomic_load(&client->deadline_ns);
    if (deadline_ns == 0) { /* the request has arrived and is being answered */
        client->ended_ticks = 0;
        return;
    }
    bool left = has_left(client);
    if (!left && clock_now_ns() < deadline_ns)
        return;
    log_debug("closing a connection %s", left ? "that its client has left"
                                              : "whose request takes too long");
    atomic_store(&client->deadline_ns, 0);
    shutdown(client->fd, SHUT_RDWR);
}

void http_connection_notify(void *context, struct MHD_Connection *connection, void **slot,
                            enum MHD_ConnectionNotificationCode code) {
    struct http_server *server = context;
    struct http_connection *client = *slot;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        atomic_fetch_sub(&server->service->metrics.connections, 1);
        if (client) {
            disconnects_remove(server->disconnects, &client->ticks);
            free(client);
        }
        *slot = NULL;
        return;
    }
    atomic_fetch_add(&server->service->metrics.connections, 1);
    client = calloc(1, sizeof *client);
    *slot = client;
    if (!client) /* without memory, only the library's timeout ends this connection */
        return;
    client->server = server;
    client->fd = http_connection_fd(connection);
    client->ticks = (struct disconnects_entry){.fd = -1, .on_tick = on_tick, .context = client};
    http_connection_awaits_request(client);
    disconnects_add(server->disconnects, &client->ticks);
}
