/* tests.h - the tests of alpaca-eval, as `report` puts them together (harness.h).
 *
 * Ownership: nothing is allocated. Thread-safe: they never change.
 */
#ifndef ALPACA_EVALUATION_TESTS_H
#define ALPACA_EVALUATION_TESTS_H

#include "evaluation/harness.h"

extern const struct evaluation_test prompts_test, choices_test, texture_test;

#endif
