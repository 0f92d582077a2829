/* Numbers as people write them, in every locale the same. */
#ifndef BALLAST_CORE_DECIMAL_H
#define BALLAST_CORE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>

/* A decimal number without sign or exponent, "12.5": what stands behind it, or NULL where there is none. Not
 * strtod: that follows the locale of the program that uses us. */
const char *bl_decimal(const char *p, double *out);

/* The number that the `length` bytes at `text` are, as a whole: "-0.75", " 1 ". False if they are none. What
 * follows them must not be a digit or a point. */
bool bl_signed_decimal(double *out, const char *text, size_t length);

#define BL_DECIMAL_TEXT 48

/* The other way: "0.75", "-1", "12", with at most six digits behind the point. |value| is at most 1e12. */
void bl_decimal_text(char out[BL_DECIMAL_TEXT], double value);

#endif
