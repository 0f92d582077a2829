/* The vocabulary of the Qwen2 and Qwen3 models, embedded: qwen.tiktoken as gzip. Unpacked, a line a token,
 * "BASE64 RANK\n", ranks from 0 up. */
#ifndef BALLAST_TEXT_QWEN_VOCABULARY_H
#define BALLAST_TEXT_QWEN_VOCABULARY_H

#define BL_QWEN_RANKS 151643
#define BL_QWEN_UNPACKED 2561218 /* bytes */

extern const char bl_qwen_vocabulary[];     /* not NUL-terminated */
extern const char bl_qwen_vocabulary_end[]; /* one past the last byte */

#endif
