/* GGUF files that tests make of other checkpoints. What goes wrong in here fails the running test. */
#ifndef BALLAST_TESTS_SUPPORT_GGUF_H
#define BALLAST_TESTS_SUPPORT_GGUF_H

/* Writes the F32 tensors of a safetensors file as Q8_0: those of at least two axes whose values are a
 * multiple of 32, as rows of 32 with their shape in a key where a row is no whole number of blocks; all
 * others as F32. */
void bl_test_write_gguf(const char *to, const char *from);

/* The same with each matrix whose rows are whole blocks of 256 in another type, all that are read in turn:
 * but for Q8_0, F16 and BF16 of random codes, so that values are others, of about the same size. */
void bl_test_write_gguf_all(const char *to, const char *from);

/* Writes the tensors of any file as F32 safetensors, but for those that say how others are stored. */
void bl_test_write_widened(const char *to, const char *from);

#endif
