/* Errors: a function that can fail returns 0 or a negative code and writes one line into *err.
 * Rule: the lowest function that knows what happened writes the message; callers clean up and pass it on. */
#ifndef BALLAST_CORE_ERROR_H
#define BALLAST_CORE_ERROR_H

#include "ballast.h"

/* The codes of the public header under our prefix; see there for what each means. */
enum bl_code {
    BL_OK = BALLAST_OK,
    BL_E_ARGUMENT = BALLAST_E_ARGUMENT,
    BL_E_NOT_FOUND = BALLAST_E_NOT_FOUND,
    BL_E_FORMAT = BALLAST_E_FORMAT,
    BL_E_UNSUPPORTED = BALLAST_E_UNSUPPORTED,
    BL_E_MEMORY = BALLAST_E_MEMORY,
    BL_E_BUDGET = BALLAST_E_BUDGET,
    BL_E_IO = BALLAST_E_IO,
    BL_E_CANCELLED = BALLAST_E_CANCELLED,
    BL_E_NUMERIC = BALLAST_E_NUMERIC,
    BL_E_DEVICE = BALLAST_E_DEVICE,
    BL_E_INTERNAL = BALLAST_E_INTERNAL,
    BL_E_BUSY = BALLAST_E_BUSY
};

/* The message is one line without a newline; control characters in it are replaced by '?'. */
typedef ballast_error bl_error;

#define BL_MESSAGE_BYTES sizeof(((bl_error *)0)->message)

/* Writes the message and returns `code`. `err` may be NULL. Text that is too long is cut and ends in "...".
 */
int bl_fail(bl_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts '?' for control characters: names from files and prompts end up in lines for people, and nothing in
 * them may move a terminal's cursor. */
void bl_tame(char *line);

/* bl_fail for memory that could not be had; returns BL_E_MEMORY. `what` names the thing: "the token list".
 */
int bl_fail_memory(bl_error *err, const char *what, unsigned long long bytes);

/* bl_fail for a file that was to be read and cannot be opened, of which errno says `why`. BL_E_NOT_FOUND or
 * BL_E_ARGUMENT where the name is to blame (no such file, no permission, a circle of links), else BL_E_IO. */
int bl_fail_open(bl_error *err, const char *path, int why);

#endif
