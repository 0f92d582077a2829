/* Errors: a function that can fail returns 0 or a negative code and writes one line into *err.
 * Rule: the lowest function that knows what happened writes the message; callers clean up and pass it on. */
#ifndef BALLAST_CORE_ERROR_H
#define BALLAST_CORE_ERROR_H

enum bl_code {
    BL_OK = 0,
    BL_E_ARGUMENT = -1,    /* a value the caller or user gave is not usable */
    BL_E_NOT_FOUND = -2,   /* no such file, tensor, sampler, ... */
    BL_E_FORMAT = -3,      /* a file is damaged or not what it should be */
    BL_E_UNSUPPORTED = -4, /* recognised, but not something we run */
    BL_E_MEMORY = -5,      /* the system has no memory left */
    BL_E_BUDGET = -6,      /* the work cannot be done within the budget */
    BL_E_IO = -7,          /* reading or writing failed */
    BL_E_CANCELLED = -8,   /* the user asked to stop */
    BL_E_NUMERIC = -9,     /* NaN or infinity in a result */
    BL_E_DEVICE = -10,     /* the device or its library failed */
    BL_E_INTERNAL = -11    /* our mistake */
};

#define BL_MESSAGE_BYTES 1024

typedef struct bl_error {
    int code;
    char message[BL_MESSAGE_BYTES]; /* one line, no newline at the end; control characters replaced by '?' */
} bl_error;

/* Writes the message and returns `code`. `err` may be NULL. Text that is too long is cut and ends in "...".
 */
int bl_fail(bl_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same for memory that could not be had; returns BL_E_MEMORY. `what` names the thing: "the token list".
 */
int bl_fail_memory(bl_error *err, const char *what, unsigned long long bytes);

#endif
