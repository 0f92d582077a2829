#include "cli/cli.h"

#include <string.h>

#define MOST 63

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Optimal string alignment (Damerau 1964, with each neighbour swapped at most once). */
int letters_apart(const char *a, const char *b) {
    int rows[3][MOST + 1];
    int *before = rows[0], *above = rows[1], *row = rows[2];
    int n = (int)strnlen(a, MOST), m = (int)strnlen(b, MOST);
    for (int k = 0; k <= m; k++) {
        before[k] = 0;
        above[k] = k;
    }
    for (int i = 1; i <= n; i++) {
        row[0] = i;
        for (int k = 1; k <= m; k++) {
            int change = above[k - 1] + (a[i - 1] != b[k - 1]);
            row[k] = least(change, least(above[k], row[k - 1]) + 1);
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1]) {
                row[k] = least(row[k], before[k - 2] + 1);
            }
        }
        int *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[m];
}

bool looks_like(const char *typed, const char *meant) {
    size_t length = strlen(typed);
    int apart = letters_apart(typed, meant);
    return apart <= 2 && (size_t)apart * 3 <= length;
}
