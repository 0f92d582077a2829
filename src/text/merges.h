/* The text of clip_merges.txt, embedded. First line a comment, then one merge a line: "left right\n", in the
 * order in which they were learned. Symbols are bytes in the printable alphabet of GPT-2's byte-level BPE; a
 * symbol that ends a word carries "</w>". */
#ifndef BALLAST_TEXT_MERGES_H
#define BALLAST_TEXT_MERGES_H

extern const char bl_clip_merges[];     /* not NUL-terminated */
extern const char bl_clip_merges_end[]; /* one past the last byte */

#endif
