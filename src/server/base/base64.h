/* Base64 as in RFC 4648, section 4. */
#ifndef BALLAST_SERVER_BASE_BASE64_H
#define BALLAST_SERVER_BASE_BASE64_H

#include <stddef.h>

/* A text of (bytes + 2) / 3 * 4 characters, freed by the caller; NULL: no memory. */
char *base64_encode(const void *data, size_t bytes);

/* The bytes of a text, freed by the caller, one 0 behind them. Line breaks and blanks are passed over,
 * padding may be missing, the URL's alphabet ('-', '_') is taken too. NULL: no memory, or no base64. */
char *base64_decode(const char *text, size_t length, size_t *bytes);

#endif
