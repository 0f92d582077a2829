/* How much of the processors other programs use, and whoever shares the machine below the system. */
#ifndef BALLAST_CORE_OTHERS_H
#define BALLAST_CORE_OTHERS_H

#include <stdbool.h>

/* Seconds of processors until some moment. */
typedef struct bl_others {
    double busy, all; /* of those that this process may use: at work, whoever for, and altogether */
    double own;       /* that this process had */
} bl_others;

/* As it is now. False where the system does not say; then all is 0. */
bool bl_others_now(bl_others *out);

/* The part of the processors that others used between two moments, 0 to 1; 0 where the system did not say, or
 * the time is too short for its ticks. */
double bl_others_between(const bl_others *from, const bl_others *to);

/* Reads a line of /proc/stat, "cpu3 10 0 5 ...", in ticks (proc(5)): false where it is no processor's. */
bool bl_others_line(const char *line, int *processor, double *busy, double *all);

#endif
