#include "server/api/openapi.h"

#include "server/api/request.h"

/* Answers are described by hand, requests by the table that checks them (api.c). The test
 * tests/http/test_openapi.py holds real answers against this. */
static const char head[] =
    "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Alpaca\",\"version\":\"1\","
    "\"description\":\"Tells children's stories.\",\"license\":{\"name\":\"MIT\","
    "\"identifier\":\"MIT\"}},\"servers\":[{\"url\":\"/\"}],"
    "\"security\":[{},{\"key\":[]}],\"paths\":{";

#define REF(name) "{\"$ref\":\"#/components/schemas/" name "\"}"
#define JSON_CONTENT(name) "\"application/json\":{\"schema\":" REF(name) "}"
#define STREAM_CONTENT "\"text/event-stream\":{\"schema\":{\"type\":\"string\"}}"
#define TEXT_CONTENT "\"text/plain\":{\"schema\":{\"type\":\"string\"}}"
#define ERRORS                                                                                  \
    ",\"default\":{\"description\":\"What went wrong\",\"content\":{" JSON_CONTENT("Error") "}}"
#define POST(summary, id, request, content)                                                     \
    "{\"post\":{\"summary\":\"" summary "\",\"operationId\":\"" id                              \
    "\",\"requestBody\":{\"content\":{" JSON_CONTENT(request) "}},"                             \
    "\"responses\":{\"200\":{\"description\":\"Done\",\"content\":{" content "}}" ERRORS "}}}"
#define GET(summary, id, content)                                                               \
    "{\"get\":{\"summary\":\"" summary "\",\"operationId\":\"" id                               \
    "\",\"responses\":{\"200\":{\"description\":\"Done\",\"content\":{" content "}}" ERRORS "}}}"

static const char *const paths[] = {
    "\"/generate\":", POST("Tell a story", "generate", "GenerateRequest",
                           JSON_CONTENT("Story") "," STREAM_CONTENT "," TEXT_CONTENT),
    ",\"/v1/completions\":", POST("Tell a story to OpenAI's clients", "createCompletion",
                                  "CompletionRequest",
                                  JSON_CONTENT("Completion") "," STREAM_CONTENT),
    ",\"/v1/models\":", GET("The model that is served", "listModels", JSON_CONTENT("Models")),
    ",\"/tokenize\":", POST("Token ids of a text", "tokenize", "Text", JSON_CONTENT("Tokens")),
    ",\"/detokenize\":", POST("Text of token ids", "detokenize", "TokenIds", JSON_CONTENT("Text")),
    ",\"/health\":", GET("Whether the process answers", "health", JSON_CONTENT("Health")),
    ",\"/ready\":", GET("Whether a story would be told now", "ready", JSON_CONTENT("Ready")),
    ",\"/metrics\":", GET("Figures for Prometheus", "metrics", TEXT_CONTENT),
    ",\"/openapi.json\":", GET("This description", "openapi",
                               "\"application/json\":{\"schema\":{\"type\":\"object\"}}"),
    "},\"components\":{\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\"}},",
    "\"schemas\":{",
};

#define OBJECT(required, properties)                                                            \
    "{\"type\":\"object\",\"required\":[" required "],\"properties\":{" properties                 \
    "},\"additionalProperties\":false}"
#define STRING "{\"type\":\"string\"}"
#define INTEGER "{\"type\":\"integer\",\"minimum\":0}"
#define NUMBER "{\"type\":\"number\",\"minimum\":0}"
#define LOGPROB "{\"type\":\"number\",\"maximum\":0}"
#define LIST(items) "{\"type\":\"array\",\"items\":" items "}"
#define OR_NULL(schema) "{\"anyOf\":[{\"type\":\"null\"}," schema "]}"
#define FINISH "{\"enum\":[\"stop\",\"length\"]}"
#define TOLD_REQUIRED "\"story\",\"completion\",\"finish_reason\",\"seed\""
#define TOLD                                                                                    \
    "\"story\":" STRING ",\"completion\":" STRING ",\"finish_reason\":" FINISH ",\"seed\":" INTEGER

static const char *const schemas[] = {
    ",\"Story\":",
    OBJECT(TOLD_REQUIRED ",\"model\",\"usage\",\"timings\"",
           TOLD ",\"stories\":{\"type\":\"array\",\"items\":" REF("Told") "},\"model\":" STRING
                ",\"usage\":" REF("Usage") ",\"timings\":" REF("Timings")),
    ",\"Told\":", OBJECT(TOLD_REQUIRED, TOLD),
    ",\"Usage\":",
    OBJECT("\"prompt_tokens\",\"completion_tokens\",\"total_tokens\"",
           "\"prompt_tokens\":" INTEGER ",\"completion_tokens\":" INTEGER
           ",\"total_tokens\":" INTEGER),
    ",\"Timings\":",
    OBJECT("\"queue_ms\",\"prefill_ms\",\"decode_ms\",\"tokens_per_second\"",
           "\"queue_ms\":" NUMBER ",\"prefill_ms\":" NUMBER ",\"decode_ms\":" NUMBER
           ",\"tokens_per_second\":" NUMBER),
    ",\"Completion\":",
    OBJECT("\"id\",\"object\",\"created\",\"model\",\"choices\",\"usage\",\"seed\"",
           "\"id\":" STRING ",\"object\":{\"const\":\"text_completion\"},\"created\":" INTEGER
           ",\"model\":" STRING ",\"seed\":" INTEGER ",\"usage\":" REF("Usage")
           ",\"choices\":{\"type\":\"array\",\"items\":" REF("Choice") "}"),
    ",\"Choice\":",
    OBJECT("\"index\",\"text\",\"logprobs\",\"finish_reason\"",
           "\"index\":" INTEGER ",\"text\":" STRING ",\"logprobs\":" OR_NULL(REF("Logprobs"))
           ",\"finish_reason\":" FINISH),
    ",\"Logprobs\":",
    OBJECT("\"tokens\",\"token_logprobs\",\"top_logprobs\",\"text_offset\"",
           "\"tokens\":" LIST(STRING) ",\"token_logprobs\":" LIST(OR_NULL(LOGPROB))
           ",\"top_logprobs\":" OR_NULL(LIST(OR_NULL("{\"type\":\"object\","
                                                 "\"additionalProperties\":" LOGPROB "}")))
           ",\"text_offset\":" LIST(INTEGER)),
    ",\"Models\":",
    OBJECT("\"object\",\"data\"",
           "\"object\":{\"const\":\"list\"},\"data\":{\"type\":\"array\",\"items\":"
           OBJECT("\"id\",\"object\",\"created\",\"owned_by\",\"max_model_len\"",
                  "\"id\":" STRING ",\"object\":{\"const\":\"model\"},\"created\":" INTEGER
                  ",\"owned_by\":" STRING ",\"max_model_len\":" INTEGER) "}"),
    ",\"Text\":", OBJECT("\"text\"", "\"text\":" STRING),
    ",\"TokenIds\":",
    OBJECT("\"tokens\"", "\"tokens\":{\"type\":\"array\",\"items\":" INTEGER "}"),
    ",\"Tokens\":",
    OBJECT("\"tokens\",\"count\",\"max_model_len\"",
           "\"tokens\":{\"type\":\"array\",\"items\":" INTEGER "},\"count\":" INTEGER
           ",\"max_model_len\":" INTEGER),
    ",\"Health\":",
    OBJECT("\"status\",\"model\"", "\"status\":{\"const\":\"ok\"},\"model\":" STRING),
    ",\"Ready\":", OBJECT("\"status\"", "\"status\":{\"const\":\"ready\"}"),
    ",\"Error\":",
    OBJECT("\"error\"",
           "\"error\":" OBJECT("\"message\",\"type\",\"param\",\"code\"",
                               "\"message\":" STRING ",\"type\":" STRING
                               ",\"param\":{\"type\":[\"string\",\"null\"]},\"code\":" STRING)),
    "}}}\n",
};

static void append_all(struct buffer *out, const char *const *texts, size_t count) {
    for (size_t i = 0; i < count; i++)
        buffer_append_text(out, texts[i]);
}

void openapi_write(struct buffer *out) {
    buffer_append_text(out, head);
    append_all(out, paths, sizeof paths / sizeof *paths);
    buffer_append_text(out, "\"GenerateRequest\":");
    api_write_schema(out, API_GENERATE);
    buffer_append_text(out, ",\"CompletionRequest\":");
    api_write_schema(out, API_COMPLETIONS);
    append_all(out, schemas, sizeof schemas / sizeof *schemas);
}
