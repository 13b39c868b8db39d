#include "server/http/http_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

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

static bool is_loopback(const struct sockaddr_storage *address) {
    const struct in6_addr *six = &((const struct sockaddr_in6 *)address)->sin6_addr;
    if (address->ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
    return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
}

/* The first of the host's addresses that can be listened at. */
static enum status listen_on(struct http_server *server, const char *host, int port,
                             struct error *err) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char port_text[16];
    int fd = -1;
    snprintf(port_text, sizeof port_text, "%d", port);
    int code = getaddrinfo(host, port_text, &hints, &found);
    if (code != 0)
        return error_set_field(err, STATUS_INVALID, "host", "--host: cannot listen on \"%s\": %s",
                               host, gai_strerror(code));
    for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
        fd = listen_at(at);
    code = errno;
    freeaddrinfo(found);
    errno = code;
    if (fd >= 0) {
        server->listeners[server->listener_count++].fd = fd;
        return STATUS_OK;
    }
    if (errno == EADDRINUSE)
        return error_set_field(err, STATUS_IO, "port",
                               "port %d on %s is in use already; choose another with --port", port,
                               host);
    return error_set_errno(err, "--host: cannot listen on %s port %d", host, port);
}

/* Finds out the port, and names the address as a person can use it: a server that listens on every
 * address is reached at this machine's own. */
static enum status name_address(struct http_server *server, bool localhost, int *port,
                                struct error *err) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char host[64], port_text[16];
    if (getsockname(server->listeners[0].fd, (struct sockaddr *)&address, &size) != 0)
        return error_set_errno(err, "cannot tell the port");
    if (getnameinfo((struct sockaddr *)&address, size, host, sizeof host, port_text,
                    sizeof port_text, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return error_set(err, STATUS_IO, "cannot tell the port");
    const char *shown = localhost                    ? "localhost"
                        : strcmp(host, "0.0.0.0") == 0 ? "127.0.0.1"
                        : strcmp(host, "::") == 0      ? "::1"
                                                       : host;
    snprintf(server->url, sizeof server->url,
             strchr(shown, ':') ? "http://[%s]:%s" : "http://%s:%s", shown, port_text);
    server->service->loopback_only = is_loopback(&address);
    *port = atoi(port_text);
    return STATUS_OK;
}

enum status http_listen(struct http_server *server, struct error *err) {
    const struct options *options = &server->service->options;
    bool localhost = strcasecmp(options->host, "localhost") == 0;
    int port = options->port;
    enum status status = listen_on(server, localhost ? "127.0.0.1" : options->host, port, err);
    if (status == STATUS_OK)
        status = name_address(server, localhost, &port, err);
    if (status != STATUS_OK || !localhost)
        return status;
    /* A program that looks localhost up may try ::1 first, and would find a stranger there. */
    status = listen_on(server, "::1", port, err);
    bool without_ipv6 = status != STATUS_OK && (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT);
    return without_ipv6 ? STATUS_OK : status;
}
