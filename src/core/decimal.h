/* Numbers as people write them, in every locale the same. */
#ifndef BALLAST_CORE_DECIMAL_H
#define BALLAST_CORE_DECIMAL_H

/* A decimal number without sign or exponent, "12.5": what stands behind it, or NULL where there is none. Not
 * strtod: that follows the locale of the program that uses us. */
const char *bl_decimal(const char *p, double *out);

#endif
