/* openapi.h - the API's description for tools, OpenAPI 3.1. Thread-safe. */
#ifndef ALPACA_SERVER_API_OPENAPI_H
#define ALPACA_SERVER_API_OPENAPI_H

#include "base/buffer.h"

void openapi_write(struct buffer *out);

#endif
