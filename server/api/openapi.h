/* openapi.h - the API's description for tools, OpenAPI 3.1.
 *
 * openapi.json describes the answers by hand. The schemas of the requests come
 * from the table in api_request.c that checks them; markers in the file say where.
 * tests/http/test_openapi.py holds real answers against the description.
 *
 * Ownership: the caller owns what is written. Thread-safe.
 */
#ifndef ALPACA_SERVER_API_OPENAPI_H
#define ALPACA_SERVER_API_OPENAPI_H

#include "base/buffer.h"

/* Appends the document, for a model of `vocab` tokens; `out` remembers when memory runs out. */
void openapi_write(struct buffer *out, int vocab);

#endif
