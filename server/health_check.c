#include "server/health_check.h"

#include "base/file.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { TIMEOUT_S = 5, COMMAND_LINE_BYTES = 1 << 20 };

static enum status connect_to(const char *host, int port, int *out, struct error *err) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    char port_text[16];
    int fd = -1, failure = 0; /* errno of the last attempt; closing a socket may change it */
    snprintf(port_text, sizeof port_text, "%d", port);
    int code = getaddrinfo(host, port_text, &hints, &found);
    if (code != 0)
        return error_set_field(err, STATUS_NOT_FOUND, "host", "no server at %s port %d: %s", host,
                               port, gai_strerror(code));
    for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, SOCK_STREAM, 0);
        if (fd < 0) {
            failure = errno;
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        if (connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
            failure = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    *out = fd;
    errno = failure;
    return fd >= 0 ? STATUS_OK : error_set_errno(err, "no server at %s port %d", host, port);
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

enum status health_check_options(struct options *options, const char *command_line, int argc,
                                 char **argv, struct error *err) {
    static struct buffer words; /* options may point into it */
    bool done, found = false;
    int count = 1;
    buffer_clear(&words);
    if (file_read(command_line, COMMAND_LINE_BYTES, &words, NULL) != STATUS_OK)
        return STATUS_OK;
    char *end = words.data + words.size;
    char **all = calloc(words.size + (size_t)argc + 1, sizeof *all); /* no word is shorter */
    if (!all)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the options");
    all[0] = argv[0];
    for (char *word = words.data; word < end; word += strlen(word) + 1) {
        if (found)
            all[count++] = word;
        found = found || strcmp(name_of(word), name_of(argv[0])) == 0;
    }
    for (int i = 1; i < argc; i++)
        all[count++] = argv[i];
    enum status status = found ? options_parse(options, count, all, &done, err) : STATUS_OK;
    free(all);
    return status;
}

enum status health_check(const struct options *options, struct error *err) {
    static const char request[] = "GET /health HTTP/1.1\r\nHost: localhost\r\n"
                                  "Connection: close\r\n\r\n";
    /* A server that listens on every address is asked at this machine's own. */
    const char *host = strcmp(options->host, "0.0.0.0") == 0 ? "127.0.0.1"
                       : strcmp(options->host, "::") == 0    ? "::1"
                                                             : options->host;
    char answer[64] = "";
    size_t used = 0;
    int fd = -1;
    enum status status = connect_to(host, options->port, &fd, err);
    if (status != STATUS_OK)
        return status;
    ssize_t count = send(fd, request, sizeof request - 1, 0);
    while (count > 0 && used < sizeof answer - 1) {
        count = recv(fd, answer + used, sizeof answer - 1 - used, 0);
        used += count > 0 ? (size_t)count : 0;
    }
    close(fd);
    answer[used] = '\0';
    if (strncmp(answer, "HTTP/1.1 200 ", 13) == 0)
        return STATUS_OK;
    answer[strcspn(answer, "\r\n")] = '\0';
    return error_set(err, STATUS_IO, "the server at %s port %d is not healthy: %s", host,
                     options->port, *answer ? answer : "no answer");
}
