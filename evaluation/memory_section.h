/* memory_section.h - the part "memory" of the document: what of each set of stories is in the
 * training text word for word.
 *
 * Ownership: everything is the caller's. One thread, the user of the harness.
 */
#ifndef ALPACA_EVALUATION_MEMORY_SECTION_H
#define ALPACA_EVALUATION_MEMORY_SECTION_H

#include "evaluation/harness.h"
#include "evaluation/story_sample.h"
#include "evaluation/training_text.h"

/* Adds the part, for samples[count]. */
enum status memory_add(struct harness *harness, struct document *document,
                       const struct training_text *training, const struct story_sample *samples,
                       int count, struct error *err);
void memory_write(const struct cJSON *root, struct page *page);

#endif
