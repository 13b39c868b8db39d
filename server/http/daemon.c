#include "server/http/http_internal.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SPARE_FILES = 64 }; /* for all but connections: epoll, pipes, weights, logs */

/* Each connection is an open file, of which a process may usually have few. */
static void allow_files(int connections) {
    struct rlimit limit;
    rlim_t wanted = (rlim_t)connections + SPARE_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted ? wanted
                                                                                : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
        log_warn("the system allows %llu open files, too few for %d connections",
                 (unsigned long long)limit.rlim_cur, connections);
}

static void on_library_message(void *context, const char *format, va_list arguments) {
    (void)context;
    char text[512];
    vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = '\0';
    log_debug("%s", text);
}

/* A fault inside the library, after which nothing it holds can be trusted. */
static void on_library_panic(void *context, const char *file, unsigned line, const char *reason) {
    (void)context;
    log_error("libmicrohttpd failed at %s:%u: %s", file, line, reason ? reason : "no reason given");
    abort();
}

static enum status start_daemon(struct http_server *server, struct http_listener *listener,
                                struct error *err) {
    const struct options *options = &server->service->options;
    int threads = options->http_threads > 0 ? options->http_threads : (cpu_count() + 3) / 4;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    flags |= MHD_is_feature_supported(MHD_FEATURE_EPOLL) == MHD_YES ? MHD_USE_EPOLL : MHD_USE_POLL;
    MHD_set_panic_func(on_library_panic, NULL);
    listener->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, http_handle, server,
        MHD_OPTION_EXTERNAL_LOGGER, on_library_message, NULL, /* first, to log the rest */
        MHD_OPTION_LISTEN_SOCKET, listener->fd,
        MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? (unsigned)threads : 0u,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->connections,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)options->connections_per_address,
        /* The library answers without us when this is used up, so our own limit comes first. */
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, 2 * (size_t)options->header_bytes,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)options->idle_timeout_s,
        MHD_OPTION_UNESCAPE_CALLBACK, http_unescape, server,
        MHD_OPTION_URI_LOG_CALLBACK, http_expect, server,
        MHD_OPTION_NOTIFY_COMPLETED, http_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, http_connection_notify, server,
        MHD_OPTION_END);
    if (listener->daemon)
        return STATUS_OK;
    return error_set(err, STATUS_IO, "cannot start the HTTP server at %s", server->url);
}

static void release(struct http_server *server) {
    for (int i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].daemon)
            MHD_stop_daemon(server->listeners[i].daemon); /* closes the listening socket too */
        else
            close(server->listeners[i].fd);
    }
    disconnects_destroy(server->disconnects);
    wakeups_destroy(server->wakeups);
    if (server->no_memory)
        MHD_destroy_response(server->no_memory);
    free(server);
}

enum status http_start(struct http_server **out, struct service *service, struct error *err) {
    struct http_server *server = calloc(1, sizeof *server);
    if (!server)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the HTTP server");
    server->service = service;
    enum status status = http_listen(server, err);
    if (status == STATUS_OK)
        status = disconnects_create(&server->disconnects, err);
    if (status == STATUS_OK)
        status = wakeups_create(&server->wakeups, err);
    if (status == STATUS_OK) {
        allow_files(service->options.connections * server->listener_count);
        server->no_memory = http_make_no_memory();
        if (!server->no_memory)
            status = error_set(err, STATUS_NO_MEMORY, "no memory for the HTTP server");
    }
    for (int i = 0; status == STATUS_OK && i < server->listener_count; i++)
        status = start_daemon(server, &server->listeners[i], err);
    if (status != STATUS_OK) {
        release(server);
        return status;
    }
    *out = server;
    return STATUS_OK;
}

const char *http_url(const struct http_server *server) {
    return server->url;
}

void http_stop(struct http_server *server, int wait_ms) {
    const struct timespec pause = {.tv_nsec = 5000000};
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)wait_ms * 1000000u;
    while (atomic_load(&server->active) > 0 && clock_now_ns() < deadline_ns)
        nanosleep(&pause, NULL);
    wakeups_flush(server->wakeups); /* resumes the connections whose wakeup is still due */
    release(server);
}
