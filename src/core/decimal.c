#include "core/decimal.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

const char *bl_decimal(const char *p, double *out) {
    double value = 0, scale = 1;
    bool digits = false, fraction = false;
    for (; isdigit((unsigned char)*p) || (*p == '.' && !fraction); p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        digits = true;
        /* 15 digits and 10^22 are exact in a double, so that the one division rounds correctly */
        if (!fraction || (value < 1e14 && scale < 1e22)) {
            value = value * 10 + (*p - '0');
            scale *= fraction ? 10 : 1;
        }
    }
    *out = value / scale;
    return digits ? p : NULL;
}

bool bl_signed_decimal(double *out, const char *text, size_t n) {
    const char *p = text, *end = text + n;
    while (p < end && isspace((unsigned char)*p)) {
        p++;
    }
    bool negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    p = p < end ? bl_decimal(p, out) : NULL;
    while (p && p < end && isspace((unsigned char)*p)) {
        p++;
    }
    if (p != end || !isfinite(*out)) {
        return false;
    }
    *out = negative ? -*out : *out;
    return true;
}

void bl_decimal_text(char out[BL_DECIMAL_TEXT], double value) {
    long long millionths = llround(fabs(value) * 1e6);
    int n =
        snprintf(out, BL_DECIMAL_TEXT, "%s%lld", value < 0 && millionths ? "-" : "", millionths / 1000000);
    if (millionths % 1000000) {
        n += snprintf(out + n, (size_t)(BL_DECIMAL_TEXT - n), ".%06lld", millionths % 1000000);
        while (out[n - 1] == '0') {
            out[--n] = '\0';
        }
    }
}
