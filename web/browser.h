/* browser.h - the engine as public/worker.js calls it: opened once, then story after story.
 *
 * A function that can fail returns what went wrong, or NULL when nothing did.
 * Ownership: memory from web_allocate() is the caller's; texts that are returned belong to this
 * module, and are valid until the next call. One thread.
 */
#ifndef ALPACA_WEB_BROWSER_H
#define ALPACA_WEB_BROWSER_H

#include <stddef.h>

#define EXPORTED(name) __attribute__((export_name(#name)))

/* For the packed model and the texts that are passed in; NULL when memory runs out. */
EXPORTED(web_allocate) void *web_allocate(size_t bytes);
EXPORTED(web_free) void web_free(void *memory);

/* bytes[count] are those of engine_pack(), in memory from web_allocate() that stays. */
EXPORTED(web_open) const char *web_open(const void *bytes, size_t count);
/* Of the weights and their dtype, as in the API's system_fingerprint. */
EXPORTED(web_fingerprint) const char *web_fingerprint(void);
/* Sets a number of the next story; what is not set is as by default. The names and ranges are those
 * of POST /generate. After an error nothing is set. */
EXPORTED(web_set) const char *web_set(const char *name, double value);
/* Starts a story that goes on from prompt[bytes], and ends one that is running. With best_of above
 * 1 there is no text until its end. */
EXPORTED(web_start) const char *web_start(const char *prompt, size_t bytes);
/* Computes a part of the prompt, or the next token. */
EXPORTED(web_step) const char *web_step(void);
/* The story without the prompt, as far as it is certain; not NUL-terminated there. */
EXPORTED(web_text) const char *web_text(void);
EXPORTED(web_text_bytes) size_t web_text_bytes(void);
EXPORTED(web_tokens) int web_tokens(void);
/* The one that alone gives this story again; that of the best once it is known. */
EXPORTED(web_seed) double web_seed(void);
/* "running", or why the story ended: "stop" or "length". */
EXPORTED(web_finish) const char *web_finish(void);

#endif
