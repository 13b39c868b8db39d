/* web_files.h - the engine for browsers that the page offers, from a folder of `make web`.
 *
 * FOLDER/web/ has engine.json, which names the packed model, that model and alpaca.wasm. They are
 * mapped when the server starts, so that no path of a request reaches the disk.
 *
 * Ownership: web_files owns the mappings, which its pages point into. Thread-safe once open.
 */
#ifndef ALPACA_SERVER_API_WEB_FILES_H
#define ALPACA_SERVER_API_WEB_FILES_H

#include "base/buffer.h"
#include "base/file.h"
#include "base/status.h"
#include "server/api/pages.h"

enum { WEB_FILES = 3 }; /* engine.json, alpaca.wasm, the packed model */

struct web_files {
    struct page pages[WEB_FILES]; /* those that are there; the paths are names in FOLDER/web/ */
    struct buffer manifest;       /* of engine.json as the server sends it */
    struct file_map wasm, pack;
    char pack_name[64], etags[WEB_FILES][24];
};

/* Without a folder (NULL), engine.json says that a server is here and offers nothing else. */
enum status web_files_open(struct web_files *files, const char *folder, struct error *err);
void web_files_close(struct web_files *files); /* a zeroed one is allowed */
/* NULL: there is no such file. */
const struct page *web_files_find(const struct web_files *files, const char *name);

#endif
