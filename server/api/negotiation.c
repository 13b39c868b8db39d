#include "server/api/negotiation.h"

#include "base/flags.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What an Accept header says of one media type. */
struct preference {
    int q;           /* in thousandths; 0 where the type is not mentioned, -1 for q=0: never */
    int specificity; /* of the range that said so: 1 for all, 2 for text/ and all, 3 for the type */
    const char *at;  /* where the type is named in full; NULL: nowhere */
};

static bool same(const char *text, size_t length, const char *word) {
    return length == strlen(word) && strncasecmp(text, word, length) == 0;
}

/* The q of a range whose parameters begin at `at`, in thousandths; 1 when there is none. */
static int quality(const char *at) {
    while (*at == ';') {
        at += 1 + strspn(at + 1, " \t");
        if ((*at == 'q' || *at == 'Q') && at[1] == '=') {
            double q = strtod(at + 2, NULL);
            return q >= 1 ? 1000 : q > 0.0005 ? (int)(q * 1000 + 0.5) : -1;
        }
        at += strcspn(at, ";,");
    }
    return 1000;
}

static struct preference preference(const char *accept, const char *type) {
    struct preference found = {0};
    size_t major = strcspn(type, "/") + 1;
    for (const char *at = accept; *at; at += strcspn(at, ","), at += *at == ',') {
        at += strspn(at, " \t");
        size_t length = strcspn(at, ";, \t");
        int specificity = same(at, length, type)  ? 3
                          : same(at, length, "*/*") ? 1
                          : length == major + 1 && at[major] == '*' &&
                                  strncasecmp(at, type, major) == 0
                              ? 2
                              : 0;
        if (specificity <= found.specificity)
            continue;
        found.specificity = specificity;
        found.at = specificity == 3 ? at : NULL;
        at += length;
        found.q = quality(at + strspn(at, " \t"));
    }
    return found;
}

bool accept_prefers_text(const char *accept) {
    if (!accept)
        return false;
    struct preference text = preference(accept, "text/plain");
    struct preference json = preference(accept, "application/json");
    struct preference events = preference(accept, "text/event-stream");
    if (events.at && (events.q > json.q || (events.q == json.q && !json.at)))
        json = events; /* events are JSON too */
    if (text.q != json.q)
        return text.q > json.q;
    return text.at && text.q > 0 && (!json.at || text.at < json.at);
}

enum { HOST_BYTES = 256 }; /* a name's 253 at most (RFC 1035, 2.3.4), with a dot and a NUL */
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

/* Of the name in an authority, without the port and the dot of the root. */
static size_t name_length(const char *authority) {
    size_t length = strcspn(authority, ":");
    return length - (length > 0 && authority[length - 1] == '.');
}

enum status hosts_check(const char *hosts, struct error *err) {
    char host[HOST_BYTES];
    while (hosts) {
        enum status status = flags_next_item(&hosts, "allow-host", host, sizeof host, err);
        if (status != STATUS_OK)
            return status;
        const char *end = host + strspn(host, NAME_CHARACTERS);
        if (*end == ':')
            end += 1 + strspn(end + 1, "0123456789");
        if (*end || name_length(host) == 0)
            return error_set_field(err, STATUS_INVALID, "allow-host",
                                   "--allow-host lists names such as stories.example, not \"%s\"",
                                   host);
    }
    return STATUS_OK;
}

bool host_is_local(const char *authority, const char *allowed) {
    char name[HOST_BYTES], host[HOST_BYTES];
    unsigned char address[4];
    size_t length = name_length(authority);
    if (*authority == '[' || length >= sizeof name)
        return *authority == '[';
    memcpy(name, authority, length);
    name[length] = '\0';
    if (!strchr(name, '.') || inet_pton(AF_INET, name, address) == 1 ||
        (length > 10 && strcasecmp(name + length - 10, ".localhost") == 0))
        return true;
    while (allowed && flags_next_item(&allowed, "allow-host", host, sizeof host, NULL) == STATUS_OK)
        if (same(host, name_length(host), name))
            return true;
    return false;
}
