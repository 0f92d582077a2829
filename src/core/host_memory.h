/* How much of the machine's memory is this process's to take. */
#ifndef BALLAST_CORE_HOST_MEMORY_H
#define BALLAST_CORE_HOST_MEMORY_H

#include <stdint.h>

/* Bytes of memory that this process may still take, and all that it could ever have: the least of the system,
 * of the control groups that it is in, and of its own limits. */
void bl_host_memory(uint64_t *free_bytes, uint64_t *all_bytes);

#endif
