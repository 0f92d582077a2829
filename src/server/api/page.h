/* The page's files, as they lie in the program. */
#ifndef BALLAST_SERVER_API_PAGE_H
#define BALLAST_SERVER_API_PAGE_H

#include <stddef.h>

struct page_file {
    const char *name; /* NULL ends the list */
    const unsigned char *gzip;
    size_t gzip_bytes, bytes; /* compressed, and as it was */
    const char *tag;          /* an ETag, quotes included */
};

extern const struct page_file page_files[];

#endif
