#include "server/api/pages.h"

#include <string.h>

const struct page *pages_find(const char *path) {
    for (const struct page *page = pages; page->path; page++)
        if (strcmp(page->path, path) == 0)
            return page;
    return NULL;
}
