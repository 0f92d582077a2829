/* Names of files, on their way into JSON and pictures, which take UTF-8 alone. */
#ifndef BALLAST_PIPELINE_UTF8_H
#define BALLAST_PIPELINE_UTF8_H

/* A copy of `text`; where that is not UTF-8, with '?' for each byte that is not ASCII. Owner: caller, free().
 * NULL if there is no memory. */
char *bl_utf8_copy(const char *text);

#endif
