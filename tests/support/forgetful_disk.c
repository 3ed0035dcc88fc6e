/* Preloaded into a process: what it writes to superblocks is noted in <file>.undo until it is synced.
 *
 * Before each write, cut or growth of a file named sb-*.dat the bytes that were there go to the
 * journal beside it; after a sync the journal is empty again. Whoever finds the files after a
 * kill -9 can so take back what was never synced (support/forgetful_disk.py does).
 *
 * record = kind (8: 1 write, 2 size) | offset or new size (8) | length written (8) | old size (8)
 *          | old bytes: of what is overwritten or cut off (their count: 8 bytes before them)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int journal_of(int fd, int flags) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 8);
    if (length <= 0) return -1;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    if (!name || strncmp(name, "/sb-", 4) || strcmp(path + length - 4, ".dat")) return -1;
    strcat(path, ".undo");
    return open(path, O_WRONLY | O_APPEND | O_CLOEXEC | flags, 0600);
}

static void note(int fd, uint64_t kind, uint64_t offset, uint64_t written) {
    int journal = journal_of(fd, O_CREAT);
    if (journal < 0) return;
    struct stat facts;
    if (fstat(fd, &facts)) abort();
    uint64_t size = facts.st_size, old = 0;
    uint64_t stop = kind == 1 ? offset + written : size;
    if (stop > size) stop = size;
    if (offset < stop) old = stop - offset;
    uint64_t head[5] = {kind, offset, written, size, old};
    char *record = malloc(sizeof head + old);
    if (!record) abort();
    memcpy(record, head, sizeof head);
    if (old && pread(fd, record + sizeof head, old, offset) != (ssize_t)old) abort();
    if (write(journal, record, sizeof head + old) != (ssize_t)(sizeof head + old)) abort();
    free(record);
    close(journal);
}

static void settle(int fd) {
    int journal = journal_of(fd, 0);
    if (journal < 0) return;
    int (*cut)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate64");
    if (cut(journal, 0)) abort();
    close(journal);
}

static uint64_t total(const struct iovec *parts, int count) {
    uint64_t sum = 0;
    for (int i = 0; i < count; i++) sum += parts[i].iov_len;
    return sum;
}

#define WRITES_AT(name, extra_type, ...)                                                     \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t offset extra_type) {     \
        note(fd, 1, offset, total(parts, count));                                            \
        return REAL(name)(fd, parts, count, offset __VA_ARGS__);                             \
    }
#define COMMA ,
WRITES_AT(pwritev, )
WRITES_AT(pwritev64, )
WRITES_AT(pwritev2, COMMA int flags, COMMA flags)
WRITES_AT(pwritev64v2, COMMA int flags, COMMA flags)

#define CUTS(name)                                                                           \
    int name(int fd, off_t size) {                                                           \
        note(fd, 2, size, 0);                                                                \
        return REAL(name)(fd, size);                                                         \
    }
CUTS(ftruncate)
CUTS(ftruncate64)

#define GROWS(name)                                                                          \
    int name(int fd, off_t offset, off_t length) {                                           \
        note(fd, 2, offset + length, 0);                                                     \
        return REAL(name)(fd, offset, length);                                               \
    }
GROWS(posix_fallocate)
GROWS(posix_fallocate64)

/* The real sync is left out: a process that is killed loses no page. What counts is that it takes
 * a while, as a disk does, so that kills fall into it. */
#define SYNC_US 3000
#define SYNCS(name)                                                                          \
    int name(int fd) {                                                                       \
        usleep(SYNC_US);                                                                     \
        settle(fd);                                                                          \
        return 0;                                                                            \
    }
SYNCS(fdatasync)
SYNCS(fsync)
