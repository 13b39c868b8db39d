/* What a request's line and headers must be (RFC 9110, RFC 9112) where libmicrohttpd takes more. A
 * server that believes what a proxy in front of it refuses, or reads otherwise, lets a client hide
 * one request in another. */
#include "server/http/http_internal.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char host_characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789-._~!$&'()*+,;=%:[]";

/* What one walk over the headers finds. */
struct headers {
    const char *end; /* where the last value ended; NULL before the first header */
    const char *host;
    int hosts, lengths, codings;
    bool chunked;    /* a coding is exactly "chunked", which alone the library understands */
    bool malformed;
};

static bool is_token(const char *text) {
    return *text && text[strspn(text, HTTP_TOKEN_CHARACTERS)] == '\0';
}

static bool has_control(const char *text) {
    while (*text == '\t' || ((unsigned char)*text >= ' ' && *text != 0x7f))
        text++;
    return *text != '\0';
}

bool http_target_is_malformed(const char *target) {
    return has_control(target) || strpbrk(target, " \t");
}

/* The library cuts the head into texts where it lies. Between two of them is nothing but blanks and
 * ends of lines, unless a value had a NUL in it or went on in another line; both are wrong. */
static bool only_blank(const char *from, const char *to) {
    if ((uintptr_t)from > (uintptr_t)to)
        return false;
    while (from < to && (*from == '\0' || strchr(" \t\r\n", *from)))
        from++;
    return from == to;
}

/* Blanks behind a value are no part of it. The library leaves them in its own buffer, where this
 * cuts them off for all who look the header up. */
static void trim(const char *value, size_t size) {
    char *bytes = (char *)(uintptr_t)value;
    while (size > 0 && (bytes[size - 1] == ' ' || bytes[size - 1] == '\t'))
        bytes[--size] = '\0';
}

static enum MHD_Result look_at(void *context, enum MHD_ValueKind kind, const char *name,
                               size_t name_size, const char *value, size_t value_size) {
    (void)kind;
    struct headers *headers = context;
    if (!value || !is_token(name) || has_control(value) ||
        (headers->end && !only_blank(headers->end, name)) || !only_blank(name + name_size, value)) {
        headers->malformed = true;
        return MHD_NO;
    }
    headers->end = value + value_size;
    if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
        headers->codings++;
        headers->chunked = strcasecmp(value, "chunked") == 0;
    }
    trim(value, value_size);
    if (strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0) {
        headers->hosts++;
        headers->host = value;
    }
    headers->lengths += strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0;
    return MHD_YES;
}

static bool refuse(struct http_transaction *transaction, enum problem problem,
                   const char *message) {
    transaction_fail(&transaction->base, problem, NULL, message);
    return false;
}

/* http://host/path is what a proxy is asked for, but every server understands it; its host counts,
 * not the Host header's (RFC 9112, 3.2.2). */
static bool split_target(struct transaction *base, const char **path, const char *host) {
    size_t scheme = strncasecmp(*path, "http://", 7) == 0 ? 7
                    : strncasecmp(*path, "https://", 8) == 0 ? 8 : 0;
    size_t size = host ? strlen(host) : 0;
    if (scheme) {
        host = *path + scheme;
        size = strcspn(host, "/");
        *path = host[size] ? host + size : "/";
    }
    if ((scheme && size == 0) || size >= sizeof base->authority ||
        (host && strspn(host, host_characters) < size))
        return false;
    snprintf(base->authority, sizeof base->authority, "%.*s", (int)size, host ? host : "");
    return true;
}

bool http_read_head(struct http_transaction *transaction, const struct http_line *line,
                    const char **path) {
    struct headers headers = {0};
    MHD_get_connection_values_n(transaction->connection, MHD_HEADER_KIND, look_at, &headers);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        transaction->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    size_t size = info ? info->header_size : 0;
    size_t limit = (size_t)transaction->server->service->options.header_bytes;
    bool old = strcmp(line->version, "HTTP/1.0") == 0;
    *path = line->url;
    if (transaction->target_bytes > limit)
        return refuse(transaction, PROBLEM_TARGET_TOO_LONG, "the address is too long");
    if (size > limit)
        return refuse(transaction, PROBLEM_HEADERS_TOO_LARGE, "the headers are too large");
    if (transaction->malformed || !is_token(line->method))
        return refuse(transaction, PROBLEM_INVALID, "the request's first line is malformed");
    if (headers.malformed || (headers.end && !only_blank(headers.end, line->method + size)))
        return refuse(transaction, PROBLEM_INVALID, "a header is malformed");
    if (headers.hosts > 1 || (headers.hosts == 0 && !old))
        return refuse(transaction, PROBLEM_INVALID, "a request needs one Host header");
    if (!split_target(&transaction->base, path, headers.host))
        return refuse(transaction, PROBLEM_INVALID, "the host is malformed");
    if (headers.lengths > 1 || (headers.codings && (headers.lengths || old)))
        return refuse(transaction, PROBLEM_INVALID, "the body's length is ambiguous");
    if (headers.codings > 1 || headers.codings != headers.chunked)
        return refuse(transaction, PROBLEM_CODING, "the only Transfer-Encoding is chunked");
    return true;
}

/* A path with %00 stays as it is, so that it is no route's: its text would end there. */
size_t http_unescape(void *context, struct MHD_Connection *connection, char *text) {
    (void)context;
    (void)connection;
    return strstr(text, "%00") ? strlen(text) : MHD_http_unescape(text);
}
