/* A shared object that is no plugin. */
extern int ballast_stranger;
__attribute__((visibility("default"))) int ballast_stranger = 1;
