/* pages.h - files that are sent as they are: those of public/ and openapi.json, compiled in.
 *
 * No path of a request ever reaches the disk. public/embed.sh generates the
 * tables.
 *
 * Ownership: everything here is constant, so thread-safe.
 */
#ifndef ALPACA_SERVER_API_PAGES_H
#define ALPACA_SERVER_API_PAGES_H

#include <stdbool.h>
#include <stddef.h>

struct page {
    const char *path; /* "/" for index.html, else "/" and the file's name */
    const char *content_type;
    const char *etag; /* with its quotes; a checksum of the bytes */
    const unsigned char *data;
    size_t size;
    bool fixed; /* what has this path never changes, so that a browser need not ask again */
};

extern const struct page pages[];          /* ends with a row whose path is NULL */
extern const unsigned char openapi_json[]; /* server/api/openapi.json; ends with a NUL */

const struct page *pages_find(const char *path); /* NULL: no such page */

#endif
