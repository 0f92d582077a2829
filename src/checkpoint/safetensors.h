/* Files of tensors: safetensors (a header in JSON that names tensors, then their bytes) and GGUF version 3
 * (the same in binary; what is in it is told apart by its first bytes).
 *
 * The file is untrusted. Opening it checks everything that the header says, as the reference implementation
 * does: its length, that each tensor's bytes are what its type and shape need, that tensors follow each other
 * without overlap or hole (in GGUF up to its alignment), and that the last one ends where the file ends.
 * Afterwards only reading can fail.
 *
 * A name or a metadata string may hold a NUL, which is shown as U+2400.
 *
 * Data is read with pread() on the descriptor kept since opening: a mapped page of a file that somebody cuts
 * short raises SIGBUS, a read is an error that we can report; the page cache serves both. */
#ifndef BALLAST_CHECKPOINT_SAFETENSORS_H
#define BALLAST_CHECKPOINT_SAFETENSORS_H

#include "core/dtype.h"
#include "core/error.h"
#include "core/storage.h"

#include <stdbool.h>
#include <stdint.h>

#define BL_FILE_RANK 8

typedef struct bl_safetensors bl_safetensors;

typedef struct bl_file_tensor {
    const char *name;       /* UTF-8; borrowed from the file, as dtype_name is */
    const char *dtype_name; /* as the header says: "F16", "F8_E4M3" */
    bl_dtype dtype; /* of its elements as they lie there; BL_DTYPE_COUNT for a type that we do not read, or
                       where one element alone has no bytes of its own */
    bl_storage storage; /* other than BL_STORED_PLAIN: its values are floats, and bl_tensor_read makes them */
    int rank;
    int64_t shape[BL_FILE_RANK];
    uint64_t offset; /* of its first byte, from the start of the file */
    uint64_t bytes;
    const float *scales; /* [scale_count] what codes are multiplied by; NULL where there are none */
    int64_t scale_count; /* 1: one for all; else one a row */
    int rotation;        /* the group of ConvRot, or 0 */
} bl_file_tensor;

/* Opens and checks a file. Owner of *out: the caller; bl_safetensors_close. Errors: BL_E_NOT_FOUND, BL_E_IO,
 * BL_E_FORMAT (damaged, or no safetensors file), BL_E_UNSUPPORTED (a known other format: the message says
 * what to do), BL_E_MEMORY. */
int bl_safetensors_open(bl_safetensors **out, const char *path, bl_error *err);
void bl_safetensors_close(bl_safetensors **file);

/* The path it was opened by. Borrowed. */
const char *bl_safetensors_path(const bl_safetensors *file);

/* All tensors, sorted by name. Borrowed. */
const bl_file_tensor *bl_safetensors_tensors(const bl_safetensors *file, int *count);

/* The tensor of this name, or NULL. Borrowed. */
const bl_file_tensor *bl_safetensors_find(const bl_safetensors *file, const char *name);

/* The first tensor in name order whose name starts with `prefix`, or NULL. Borrowed. */
const bl_file_tensor *bl_safetensors_find_prefix(const bl_safetensors *file, const char *prefix);

/* An entry of the header's "__metadata__", or NULL. Borrowed. */
const char *bl_safetensors_metadata(const bl_safetensors *file, const char *key);

/* The tokens of the vocabulary that a GGUF file has ("tokenizer.ggml.tokens"), one behind the other, a NUL
 * behind each: *count of them. NULL where there is none. Borrowed. */
const char *bl_safetensors_words(const bl_safetensors *file, uint64_t *count);

/* Reads bytes [offset, offset + bytes) of the file, which must lie inside it. May be called from several
 * threads. A file that was cut short or written to since it was opened is BL_E_IO; what was read then is not
 * to be used. */
int bl_safetensors_read(const bl_safetensors *file, uint64_t offset, uint64_t bytes, void *dst,
                        bl_error *err);

/* The type in which bl_tensor_read hands out elements: the tensor's own, BL_F32 where it is stored small. */
bl_dtype bl_tensor_dtype(const bl_file_tensor *t);

/* Reads elements [first, first + count) of a tensor, row-major, in bl_tensor_dtype(t), to dst. With scales of
 * its own for each row, or rotated, they must be whole rows. May be called from several threads. Errors:
 * those of bl_safetensors_read; BL_E_FORMAT for codes that are not a number; BL_E_MEMORY. */
int bl_tensor_read(const bl_safetensors *file, const bl_file_tensor *t, int64_t first, int64_t count,
                   void *dst, bl_error *err);

/* May the tensor stay small in memory, in rows of `columns` values: is it stored small, in rows of as many,
 * each whole blocks of codes? Then *form says how. */
bool bl_tensor_small(bl_small *form, const bl_file_tensor *t, int64_t columns);

/* Reads the codes of rows [begin, end), each of `columns` values, of a tensor that bl_tensor_small is true
 * of with these, and, where rows have one, the factor of each to scales [end - begin]. Checked as
 * bl_tensor_read checks values. May be called from several threads. */
int bl_tensor_read_small(const bl_safetensors *file, const bl_file_tensor *t, int64_t begin, int64_t end,
                         int64_t columns, void *codes, float *scales, bl_error *err);

typedef struct bl_tensor_data {
    const char *name; /* UTF-8 */
    bl_dtype dtype;
    int rank;
    int64_t shape[BL_FILE_RANK];
    const void *data; /* row-major, product of shape * size of dtype bytes */
} bl_tensor_data;

/* Writes a file: to a temporary name beside it, which is then renamed, so that `path` never holds half a
 * file; what was there is replaced. Tensors are laid out widest type first, then by name: all are aligned,
 * and equal contents give equal bytes. `metadata`: 2 * metadata_count strings, key and value in turn. */
int bl_safetensors_write(const char *path, const bl_tensor_data *tensors, int count,
                         const char *const *metadata, int metadata_count, bl_error *err);

#endif
