/* Who may come in: passwords as their hashes, keys of programs. */
#ifndef BALLAST_SERVER_AUTH_AUTH_H
#define BALLAST_SERVER_AUTH_AUTH_H

#include "server/base/problem.h"

#include <stdbool.h>

struct auth;

#define AUTH_LATER (-1)

/* `passwords`: a file of lines NAME:HASH, as mkpasswd and htpasswd -B write them ($y$, $2b$, $6$ and what
 * else crypt(3) holds for good); `keys`: a file with a key a line. Either may be NULL. Lines that begin with
 * # are comments. A file that is missing, empty or holds something in clear text is refused with 400. */
int auth_open(struct auth **out, const char *passwords, const char *keys, struct problem *p);
void auth_close(struct auth **auth);

/* Looks at an Authorization header (NULL: none was sent): a password as Basic, a key as Bearer or as Basic's
 * password. 0 or 401; it may take as long as a hash does. `quick`: says AUTH_LATER where only a
 * hash could tell. From any thread. Nothing of what was sent gets into *p. */
int auth_check(struct auth *auth, const char *authorization, bool quick, struct problem *p);

#endif
