/* document.h - results as one JSON object that tests add to and pages are written from.
 *
 * cJSON's functions accept the NULL that they return when memory runs out, so a test may build its
 * part without looking at each step; document_check() says at the end whether something is missing.
 * Ownership: the document owns its JSON. Not thread-safe.
 */
#ifndef ALPACA_EVALUATION_DOCUMENT_H
#define ALPACA_EVALUATION_DOCUMENT_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>

struct cJSON;

/* Start from {0}, end with document_close(). */
struct document {
    struct cJSON *root;
    bool failed; /* memory ran out */
};

enum status document_open(struct document *document, struct error *err);
void document_close(struct document *document);

/* Adds a member to an object, or, with `name` NULL, an element to an array. */
struct cJSON *document_object(struct document *document, struct cJSON *parent, const char *name);
struct cJSON *document_array(struct document *document, struct cJSON *parent, const char *name);
/* A number that is not finite becomes null. */
void document_number(struct document *document, struct cJSON *parent, const char *name,
                     double value);
void document_text(struct document *document, struct cJSON *parent, const char *name,
                   const char *text);

/* For reading: 0 and "" where there is no such member. */
double document_get_number(const struct cJSON *object, const char *name);
const char *document_get_text(const struct cJSON *object, const char *name);

/* Reads a JSON file of at most DOCUMENT_LIMIT_BYTES; the caller deletes it with cJSON_Delete(). */
enum { DOCUMENT_LIMIT_BYTES = 32 << 20 };
enum status document_read(struct cJSON **json, const char *path, struct error *err);

/* STATUS_NO_MEMORY when something could not be added. */
enum status document_check(const struct document *document, struct error *err);
/* Appends the JSON as text, with a line end. */
enum status document_append(const struct document *document, struct buffer *text,
                            struct error *err);
/* The same to standard output. */
enum status document_print(const struct document *document, struct error *err);

#endif
