/* Tests in a process of their own: oneDNN takes its instruction sets from the first device of a process. */
#ifndef BALLAST_TESTS_SUPPORT_AGAIN_H
#define BALLAST_TESTS_SUPPORT_AGAIN_H

/* Runs this program again with one argument. 0 if it ended with 0, else 1, to be counted as a failure. */
int bl_test_again(const char *argument);

#endif
