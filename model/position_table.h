/* position_table.h - the sinusoids that say where in a text a token stands.
 *
 * Computed without the C library's functions, whose last bits differ from one library to another:
 * every build gives the same table, and so the same stories. Before it is rounded to fp32, an entry
 * is off by some 2e-16 times its position.
 * Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.5.
 *
 * Ownership: the table is the caller's. Thread-safe.
 */
#ifndef ALPACA_MODEL_POSITION_TABLE_H
#define ALPACA_MODEL_POSITION_TABLE_H

/* table[p][2i] = sin(p / 10000^(2i / d_model)), table[p][2i + 1] = cos of the same. */
void position_table_fill(float *table, int positions, int d_model);

#endif
