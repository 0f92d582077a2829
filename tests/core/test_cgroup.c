/* Limits of nested control groups, of both versions, as they are seen from a machine, from containers and
 * from services: made-up folders stand for the system's. */
#include "core/cgroup.h"
#include "support/files.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MB 1000000ull

static char root[BL_TEST_PATH];

static void put(const char *name, const char *text) {
    char path[BL_TEST_PATH];
    bl_test_join(path, root, name);
    bl_test_write(path, text, strlen(text));
}

static void check_memory(uint64_t limit, uint64_t left) {
    bl_cgroup_memory m = bl_cgroup_memory_of(root);
    if (m.limit != limit || m.left != left) {
        fail_msg("limit %llu, not %llu; left %llu, not %llu", (unsigned long long)m.limit,
                 (unsigned long long)limit, (unsigned long long)m.left, (unsigned long long)left);
    }
}

#define V2_MOUNT "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

/* A service of systemd: its slice is narrower than itself, and the slice above that is nearly full. */
static void version_2_takes_the_least_of_all_parents(void **state) {
    (void)state;
    bl_test_folder(root);
    put("proc/self/mountinfo", "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" V2_MOUNT);
    put("proc/self/cgroup", "0::/user.slice/app.slice/x.service\n");
    put("sys/fs/cgroup/user.slice/app.slice/x.service/memory.max", "900000000\n");
    put("sys/fs/cgroup/user.slice/app.slice/x.service/memory.current", "100000000\n");
    put("sys/fs/cgroup/user.slice/app.slice/x.service/memory.stat", "anon 60000000\nfile 40000000\n");
    put("sys/fs/cgroup/user.slice/app.slice/memory.max", "700000000\n");
    put("sys/fs/cgroup/user.slice/app.slice/memory.current", "300000000\n");
    put("sys/fs/cgroup/user.slice/app.slice/memory.stat", "inactive_file 50000000\nactive_file 30000000\n");
    check_memory(700 * MB, 480 * MB);
    put("sys/fs/cgroup/user.slice/memory.max", "2000000000\n");
    put("sys/fs/cgroup/user.slice/memory.current", "1900000000\n");
    check_memory(700 * MB, 100 * MB);
    put("sys/fs/cgroup/user.slice/app.slice/x.service/memory.high", "300000000\n");
    check_memory(300 * MB, 100 * MB);
    put("sys/fs/cgroup/user.slice/memory.current", "2100000000\n");
    check_memory(300 * MB, 0);

    put("sys/fs/cgroup/user.slice/app.slice/x.service/cpu.max", "max 100000\n");
    assert_true(isinf(bl_cgroup_cores_of(root)));
    put("sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n");
    put("sys/fs/cgroup/user.slice/app.slice/cpu.max", "800000 100000\n");
    assert_true(bl_cgroup_cores_of(root) == 2.5);
    bl_test_folder_remove(root);
}

/* A batch system's job of version 1, beside the unified hierarchy that a hybrid set-up has without
 * controllers.
 */
static void version_1_takes_the_least_of_all_parents(void **state) {
    (void)state;
    bl_test_folder(root);
    put("proc/self/mountinfo", "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                               "33 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
                               "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                               "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("proc/self/cgroup", "9:name=systemd:/\n5:cpuset:/wrong\n4:memory:/slurm/uid_7/job_8\n"
                            "2:cpu,cpuacct:/slurm/uid_7\n0::/\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/slurm/uid_7/job_8/memory.limit_in_bytes", "9223372036854771712\n");
    check_memory(UINT64_MAX, UINT64_MAX);
    put("sys/fs/cgroup/memory/slurm/uid_7/memory.limit_in_bytes", "500000000\n");
    put("sys/fs/cgroup/memory/slurm/uid_7/memory.usage_in_bytes", "200000000\n");
    put("sys/fs/cgroup/memory/slurm/uid_7/memory.stat",
        "inactive_file 1\nhierarchical_memory_limit 500000000\ntotal_inactive_file 70000000\n"
        "total_active_file 30000000\n");
    check_memory(500 * MB, 400 * MB);
    /* a limit above what is mounted here */
    put("sys/fs/cgroup/memory/slurm/uid_7/job_8/memory.stat", "hierarchical_memory_limit 300000000\n");
    put("sys/fs/cgroup/memory/slurm/uid_7/job_8/memory.usage_in_bytes", "50000000\n");
    check_memory(300 * MB, 250 * MB);

    put("sys/fs/cgroup/cpu,cpuacct/slurm/uid_7/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/slurm/uid_7/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpuset/wrong/cpu.cfs_quota_us", "1000\n");
    put("sys/fs/cgroup/cpuset/wrong/cpu.cfs_period_us", "100000\n");
    assert_true(isinf(bl_cgroup_cores_of(root)));
    put("sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_quota_us", "150000\n");
    put("sys/fs/cgroup/cpu,cpuacct/slurm/cpu.cfs_period_us", "100000\n");
    assert_true(bl_cgroup_cores_of(root) == 1.5);
    bl_test_folder_remove(root);
}

/* A container sees its own group at the mount, and names it as the machine does or as "/". */
static void containers_see_their_own_group(void **state) {
    (void)state;
    bl_test_folder(root);
    put("proc/self/mountinfo", "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    put("proc/self/cgroup", "4:memory:/docker/abc/inner\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "400000000\n");
    put("sys/fs/cgroup/memory/memory.usage_in_bytes", "100000000\n");
    put("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "1\n");
    check_memory(400 * MB, 300 * MB);
    put("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "150000000\n");
    check_memory(150 * MB, 150 * MB);
    put("proc/self/cgroup", "4:memory:/docker/abcdef\n"); /* another's, not below ours */
    put("sys/fs/cgroup/memory/def/memory.limit_in_bytes", "1\n");
    check_memory(400 * MB, 300 * MB);

    put("proc/self/mountinfo", V2_MOUNT);
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/memory.max", "max\n");
    check_memory(UINT64_MAX, UINT64_MAX);
    put("sys/fs/cgroup/memory.max", "600000000\n");
    check_memory(600 * MB, 600 * MB);
    put("proc/self/cgroup", "0::/../sibling\n"); /* moved out of its namespace */
    check_memory(600 * MB, 600 * MB);
    bl_test_folder_remove(root);
}

/* Blanks in names, long lines, half a system, none. */
static void odd_systems_are_read(void **state) {
    (void)state;
    bl_test_folder(root);
    check_memory(UINT64_MAX, UINT64_MAX);
    assert_true(isinf(bl_cgroup_cores_of(root)));
    char line[10000];
    memset(line, 'x', sizeof line);
    snprintf(line + 9000, sizeof line - 9000, "\n31 23 0:28 / /my\\040groups rw - cgroup2 cgroup2 rw\n");
    put("proc/self/mountinfo", line);
    check_memory(UINT64_MAX, UINT64_MAX);
    put("proc/self/cgroup", "nonsense\n0:\n0::/a (deleted)\n");
    put("my groups/memory.max", "500000000\n");
    check_memory(500 * MB, 500 * MB);
    put("my groups/memory.max", "-5\n");
    put("my groups/cpu.max", "\n");
    check_memory(UINT64_MAX, UINT64_MAX);
    assert_true(isinf(bl_cgroup_cores_of(root)));
    bl_test_folder_remove(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_2_takes_the_least_of_all_parents),
        cmocka_unit_test(version_1_takes_the_least_of_all_parents),
        cmocka_unit_test(containers_see_their_own_group),
        cmocka_unit_test(odd_systems_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
