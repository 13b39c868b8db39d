#include "server/http/http_internal.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SPARE_FILES = 64 }; /* for all but connections: epoll, pipes, weights, logs */

/* ---- the listening socket ------------------------------------------------ */

static void set_options(int fd, int family) {
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* Accepted sockets inherit this option, which finds clients that vanished without closing. */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
#ifdef TCP_KEEPIDLE
    int idle_s = 60, interval_s = 10, count = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
#endif
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK); /* several threads accept from it */
}

static int listen_at(const struct addrinfo *address) {
    int fd = socket(address->ai_family, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    set_options(fd, address->ai_family);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int code = errno;
    close(fd);
    errno = code;
    return -1;
}

static enum status listen_failed(const struct options *options, struct error *err) {
    if (errno == EADDRINUSE)
        return error_set_field(err, STATUS_IO, "port",
                               "port %d on %s is in use already; choose another with --port",
                               options->port, options->host);
    return error_set_errno(err, "cannot listen on %s port %d", options->host, options->port);
}

static enum status open_listener(struct http_server *server, struct error *err) {
    const struct options *options = &server->service->options;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char port[16];
    snprintf(port, sizeof port, "%d", options->port);
    int code = getaddrinfo(options->host, port, &hints, &found);
    if (code != 0)
        return error_set_field(err, STATUS_INVALID, "host", "cannot listen on \"%s\": %s",
                               options->host, gai_strerror(code));
    for (const struct addrinfo *at = found; at && server->listener < 0; at = at->ai_next)
        server->listener = listen_at(at);
    enum status status = server->listener < 0 ? listen_failed(options, err) : STATUS_OK;
    freeaddrinfo(found);
    return status;
}

/* Names the address as a person can use it: a server that listens on every address is reached at
 * this machine's own. */
static enum status name_address(struct http_server *server, struct error *err) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char host[64], port[16];
    if (getsockname(server->listener, (struct sockaddr *)&address, &size) != 0)
        return error_set_errno(err, "cannot tell the port");
    if (getnameinfo((struct sockaddr *)&address, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return error_set(err, STATUS_IO, "cannot tell the port");
    const char *shown = strcmp(host, "0.0.0.0") == 0 ? "127.0.0.1"
                        : strcmp(host, "::") == 0    ? "::1"
                                                     : host;
    snprintf(server->url, sizeof server->url,
             strchr(shown, ':') ? "http://[%s]:%s" : "http://%s:%s", shown, port);
    return STATUS_OK;
}

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

/* ---- the daemon ----------------------------------------------------------- */

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

static enum status start_daemon(struct http_server *server, struct error *err) {
    const struct options *options = &server->service->options;
    server->no_memory = http_make_no_memory();
    if (!server->no_memory)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the HTTP server");
    int threads = options->http_threads > 0 ? options->http_threads : (cpu_count() + 3) / 4;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    flags |= MHD_is_feature_supported(MHD_FEATURE_EPOLL) == MHD_YES ? MHD_USE_EPOLL : MHD_USE_POLL;
    MHD_set_panic_func(on_library_panic, NULL);
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, http_handle, server,
        MHD_OPTION_EXTERNAL_LOGGER, on_library_message, NULL, /* first, to log the rest */
        MHD_OPTION_LISTEN_SOCKET, server->listener,
        MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? (unsigned)threads : 0u,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->connections,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)options->connections_per_address,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)options->header_bytes,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)options->idle_timeout_s,
        MHD_OPTION_NOTIFY_COMPLETED, http_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, http_connection_notify, server,
        MHD_OPTION_END);
    if (server->daemon)
        return STATUS_OK;
    return error_set(err, STATUS_IO, "cannot start the HTTP server at %s", server->url);
}

static void release(struct http_server *server) {
    if (server->listener >= 0)
        close(server->listener);
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
    server->listener = -1;
    enum status status = open_listener(server, err);
    if (status == STATUS_OK)
        status = name_address(server, err);
    if (status == STATUS_OK)
        status = disconnects_create(&server->disconnects, err);
    if (status == STATUS_OK)
        status = wakeups_create(&server->wakeups, err);
    if (status == STATUS_OK) {
        allow_files(service->options.connections);
        status = start_daemon(server, err);
    }
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
    MHD_stop_daemon(server->daemon); /* closes the listening socket too */
    server->listener = -1;
    release(server);
}
