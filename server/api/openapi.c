#include "server/api/openapi.h"

#include "server/api/api_request.h"
#include "server/api/pages.h"

#include <assert.h>
#include <string.h>

void openapi_write(struct buffer *out, int vocab) {
    static const struct {
        const char *marker; /* in openapi.json, in this order */
        enum api_dialect dialect;
    } requests[] = {{"\"@API_GENERATE\"", API_GENERATE},
                    {"\"@API_COMPLETIONS\"", API_COMPLETIONS},
                    {"\"@API_CHAT\"", API_CHAT},
                    {"\"@API_TOKENIZE\"", API_TOKENIZE},
                    {"\"@API_DETOKENIZE\"", API_DETOKENIZE}};
    const char *at = (const char *)openapi_json;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        const char *marker = strstr(at, requests[i].marker);
        assert(marker);
        buffer_append(out, at, (size_t)(marker - at));
        api_write_schema(out, requests[i].dialect, vocab);
        at = marker + strlen(requests[i].marker);
    }
    buffer_append_text(out, at);
}
