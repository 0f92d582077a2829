#include "core/decimal.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>

const char *bl_decimal(const char *p, double *out) {
    double value = 0, place = 1;
    bool digits = false, fraction = false;
    for (; isdigit((unsigned char)*p) || (*p == '.' && !fraction); p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        digits = true;
        place = fraction ? place / 10 : place;
        value = fraction ? value + place * (*p - '0') : value * 10 + (*p - '0');
    }
    *out = value;
    return digits ? p : NULL;
}
