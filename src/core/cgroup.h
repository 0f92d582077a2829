/* What Linux's control groups leave this process: containers, systemd's MemoryMax= and CPUQuota=, batch
 * systems. A process is in one group of each hierarchy, and every group above it limits it too; all that can
 * be seen from here are asked, of version 1 and 2. */
#ifndef BALLAST_CORE_CGROUP_H
#define BALLAST_CORE_CGROUP_H

#include <stdint.h>

typedef struct bl_cgroup_memory {
    uint64_t limit; /* bytes, the least of all groups; UINT64_MAX: none */
    uint64_t left;  /* bytes until a limit is reached, the least of all groups; pages of files that the kernel
                       would give up first count as left. UINT64_MAX: there is no limit */
} bl_cgroup_memory;

/* `root`: the folder that holds proc/ and sys/, "" for the system's own. */
bl_cgroup_memory bl_cgroup_memory_of(const char *root);

/* CPUs that the quota pays for; infinite where there is none. */
double bl_cgroup_cores_of(const char *root);

#endif
