/* Memory that runs out when a test wants it to. The program is linked with the wrappers that
 * tests/CMakeLists.txt lists, so that our calls come here first; jansson and SQLite are given the same
 * functions. What other libraries take goes its own way. */
#ifndef BALLAST_TESTS_SUPPORT_FAILING_H
#define BALLAST_TESTS_SUPPORT_FAILING_H

#include <stdbool.h>
#include <stdint.h>

/* From here on allocation `n` fails, counted from 0 over all threads, and no other. Below 0: none does. */
void bl_test_fail(long n);

/* Ends that; true where the allocation was reached. */
bool bl_test_failed(void);

/* Allocations since then. */
long bl_test_allocations(void);

/* From here on, and until the next call of a function above, the way to each allocation is looked at: the
 * chain of our own calls that leads to it, from who watches inwards. */
void bl_test_watch(void);

/* Numbers, in order, of the allocations that were watched which can tell something new when they fail: of
 * each way that no call of this function has given one of before, the second, or the only one. What else lies
 * on it finds the same code in the same state. Returns how many, at most `room`. */
long bl_test_ways(long *numbers, long room);

/* Bytes that are taken now, and the most that were at once since this was asked. */
uint64_t bl_test_taken(void);
uint64_t bl_test_most_taken(void);

/* Lets jansson take its memory here, too, or no longer. */
void bl_test_fail_json(bool on);

/* Lets SQLite take its memory here from now on. Before it is used for the first time; false afterwards. */
bool bl_test_fail_sqlite(void);

#endif
