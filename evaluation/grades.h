/* grades.h - what graders said of the answers: from their files into the document and a table.
 *
 * A file is what the page of `alpaca-eval grade` saves: {"by": name, "kind": "person" | "program",
 * "grades": [{"id", "fits": true} or {"id", "grammar", "creativity", "consistency": 0 to 10}]}.
 *
 * Ownership: everything is the caller's. Not thread-safe.
 */
#ifndef ALPACA_EVALUATION_GRADES_H
#define ALPACA_EVALUATION_GRADES_H

#include "base/status.h"
#include "evaluation/document.h"
#include "evaluation/page.h"

/* Adds the part "grades" from files ("a.json,b.json") to a document that has "prompts". Of an
 * answer with several grades the mean counts. STATUS_CORRUPT names the file and what is wrong in
 * it; STATUS_INVALID: no grade in a file is of these answers. */
enum status grades_add(struct document *document, const char *files, struct error *err);
/* Shows the part; nothing where there is none. */
void grades_write(const struct cJSON *root, struct page *page);

#endif
