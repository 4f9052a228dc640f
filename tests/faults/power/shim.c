/* A preload library that stands between a program and its disk.
 *
 * For the files below one folder it writes down, in order and with the data, everything that changes them and every
 * sync (kiff_disk_watch), and lets one call fail (kiff_disk_fail). A record of the trace is
 *
 *     u32 kind | u32 payload bytes | u64 inode | u64 offset or size | payload
 *
 * in the machine's byte order; `trace.py` reads it and names the kinds. The program may append records of its own:
 * the file is opened to append, and a record is one write.
 *
 * The calls themselves are made as raw system calls, so nothing here depends on who else is preloaded.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, SYNC_FAILED, UNLINK, RENAME, LINK, MKDIR, MAPPED };
enum { ON_WRITE, ON_SYNC, ON_TRUNCATE, ON_OPEN, ON_READ, ON_UNLINK, ON_MAP, CALLS };

#define FDS 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static int trace = -1;
static uint64_t inodes[FDS]; /* of the watched files and folders that are open; 0 is none */

static long counts[CALLS];
static uint64_t broken;     /* the inode whose sync failed: each who had it open is told once, as the kernel does */
static char told[FDS];
static int fail_on = -1, fail_errno, fail_for_ever, fail_short;
static long fail_at;

/* What a test says, through ctypes. */

void kiff_disk_watch(const char *below, int trace_fd) {
    pthread_mutex_lock(&lock);
    folder_length = strlen(below);
    memcpy(folder, below, folder_length + 1);
    trace = trace_fd;
    memset(counts, 0, sizeof counts);
    pthread_mutex_unlock(&lock);
}

/* The call of this kind with this number (from 1) fails; with for_ever every later one too. With `is_short` a write
 * writes half of its bytes first, and says so. */
void kiff_disk_fail(int call, long at, int error, int for_ever, int is_short) {
    pthread_mutex_lock(&lock);
    fail_on = call, fail_at = at, fail_errno = error, fail_for_ever = for_ever, fail_short = is_short;
    pthread_mutex_unlock(&lock);
}

long kiff_disk_calls(int call) { return counts[call]; }

/* Whether this call is to fail. Holds for one watched call: it counts. */
static int fails(int call) {
    long number = ++counts[call];
    if (call != fail_on) return 0;
    if (number != fail_at && !(fail_for_ever && number > fail_at)) return 0;
    errno = fail_errno;
    return 1;
}

static void note(uint32_t kind, uint64_t inode, uint64_t at, const void *data, size_t length) {
    if (trace < 0) return;
    struct { uint32_t kind, length; uint64_t inode, at; } head = {kind, (uint32_t)length, inode, at};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, length}};
    int before = errno;
    if (syscall(SYS_writev, trace, parts, 2) != (long)(sizeof head + length)) abort();
    errno = before;
}

/* The part of a path below the folder, or NULL. "" is the folder itself. */
static const char *below(int at, const char *path) {
    if (!folder_length || (at != AT_FDCWD && path[0] != '/')) return NULL;
    if (strncmp(path, folder, folder_length)) return NULL;
    if (path[folder_length] == '\0') return path + folder_length;
    return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

static uint64_t inode_of(int fd) { return fd >= 0 && fd < FDS ? inodes[fd] : 0; }

static int opened(int at, const char *path, int flags, mode_t mode) {
    const char *name = below(at, path);
    if (name == NULL) return (int)syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat found;
    int fresh = (flags & O_CREAT) && fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) != 0;
    int fd = fails(ON_OPEN) ? -1 : (int)syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0 && fd < FDS && fstat(fd, &found) == 0) {
        inodes[fd] = found.st_ino;
        told[fd] = 1;
        if (fresh) note(CREATE, found.st_ino, 0, name, strlen(name));
        else if (flags & O_TRUNC) note(TRUNCATE, found.st_ino, 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

static mode_t mode_in(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(more, int) : 0; }

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = mode_in(flags, more);                                                                            \
        va_end(more);                                                                                                  \
        return opened(AT_FDCWD, path, flags, mode);                                                                    \
    }
#define OPENAT(name)                                                                                                   \
    int name(int at, const char *path, int flags, ...) {                                                               \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = mode_in(flags, more);                                                                            \
        va_end(more);                                                                                                  \
        return opened(at, path, flags, mode);                                                                          \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
    if (fd >= 0 && fd < FDS) inodes[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

/* `at` < 0: at the file's own position, which is told where the write began. */
static ssize_t written(int fd, const void *data, size_t length, off_t at) {
    uint64_t inode = inode_of(fd);
    if (!inode) return at < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, at);
    pthread_mutex_lock(&lock);
    ssize_t done = -1;
    if (!fails(ON_WRITE) || (fail_short && counts[ON_WRITE] == fail_at && (length /= 2) > 0)) {
        done = at < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, at);
        if (at < 0 && done >= 0) at = syscall(SYS_lseek, fd, 0, SEEK_CUR) - done;
        if (done > 0) note(WRITE, inode, (uint64_t)at, data, (size_t)done);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

/* Several parts are written as one: the caller's loop takes a shorter answer. */
static ssize_t gathered(int fd, const struct iovec *parts, int count, off_t at) {
    if (!inode_of(fd)) {
        if (at < 0) return syscall(SYS_writev, fd, parts, count);
        return syscall(SYS_pwritev, fd, parts, count, (long)at, 0L);
    }
    return count ? written(fd, parts[0].iov_base, parts[0].iov_len, at) : 0;
}

ssize_t write(int fd, const void *data, size_t length) { return written(fd, data, length, -1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return written(fd, data, length, at); }
ssize_t pwrite64(int fd, const void *data, size_t length, off_t at) { return written(fd, data, length, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) { return gathered(fd, parts, count, -1); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return gathered(fd, parts, count, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) { return gathered(fd, parts, count, at); }

static int truncated(int fd, off_t size) {
    uint64_t inode = inode_of(fd);
    if (!inode) return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int done = fails(ON_TRUNCATE) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
    if (done == 0) note(TRUNCATE, inode, (uint64_t)size, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off_t size) { return truncated(fd, size); }

/* What was written before a sync began is durable when it has ended; others may write meanwhile. */
static int synced(int fd, long number) {
    uint64_t inode = inode_of(fd);
    if (!inode) return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    int failed = fails(ON_SYNC), error = errno;
    if (failed) {
        broken = inode;
        memset(told, 0, sizeof told);
    } else if (inode == broken && !told[fd]) {
        failed = 1, error = EIO;
    }
    if (failed) told[fd] = 1;
    note(SYNC_BEGIN, inode, 0, "", 0);
    pthread_mutex_unlock(&lock);
    int done = failed ? -1 : (int)syscall(number, fd);
    if (failed) errno = error;
    pthread_mutex_lock(&lock);
    note(done == 0 ? SYNC_END : SYNC_FAILED, inode, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static ssize_t was_read(int fd, void *data, size_t length, off_t at) {
    if (inode_of(fd)) {
        pthread_mutex_lock(&lock);
        int failed = fails(ON_READ), error = errno;
        pthread_mutex_unlock(&lock);
        if (failed) return errno = error, -1;
    }
    return at < 0 ? syscall(SYS_read, fd, data, length) : syscall(SYS_pread64, fd, data, length, at);
}

ssize_t read(int fd, void *data, size_t length) { return was_read(fd, data, length, -1); }
ssize_t pread(int fd, void *data, size_t length, off_t at) { return was_read(fd, data, length, at); }
ssize_t pread64(int fd, void *data, size_t length, off_t at) { return was_read(fd, data, length, at); }
ssize_t __read_chk(int fd, void *data, size_t length, size_t room) {
    if (length > room) abort();
    return was_read(fd, data, length, -1);
}
ssize_t __pread64_chk(int fd, void *data, size_t length, off_t at, size_t room) {
    if (length > room) abort();
    return was_read(fd, data, length, at);
}

static int unlinked(int at, const char *path, int flags) {
    const char *name = below(at, path);
    if (name == NULL) return (int)syscall(SYS_unlinkat, at, path, flags);
    pthread_mutex_lock(&lock);
    int done = fails(ON_UNLINK) ? -1 : (int)syscall(SYS_unlinkat, at, path, flags);
    if (done == 0) note(UNLINK, 0, 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return unlinked(at, path, flags); }

/* Two names, with a zero byte between them. */
static void note_both(uint32_t kind, uint64_t inode, const char *from, const char *to) {
    char both[2 * PATH_MAX];
    size_t first = strlen(from) + 1, second = strlen(to);
    memcpy(both, from, first);
    memcpy(both + first, to, second);
    note(kind, inode, 0, both, first + second);
}

static int renamed(const char *from, const char *to) {
    const char *old = below(AT_FDCWD, from), *new = below(AT_FDCWD, to);
    if (old == NULL || new == NULL) return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    if (done == 0) note_both(RENAME, 0, old, new);
    pthread_mutex_unlock(&lock);
    return done;
}

static int linked(const char *from, const char *to) {
    const char *old = below(AT_FDCWD, from), *new = below(AT_FDCWD, to);
    if (old == NULL || new == NULL) return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&lock);
    int done = (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (done == 0) note_both(LINK, 0, old, new);
    pthread_mutex_unlock(&lock);
    return done;
}

int rename(const char *from, const char *to) { return renamed(from, to); }
int link(const char *from, const char *to) { return linked(from, to); }

int mkdir(const char *path, mode_t mode) {
    const char *name = below(AT_FDCWD, path);
    if (name == NULL) return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    pthread_mutex_lock(&lock);
    struct stat found;
    int done = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (done == 0 && stat(path, &found) == 0) note(MKDIR, found.st_ino, 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
    return done;
}

/* A shared mapping changes a file unseen: it is noted, so that a reader of the trace can say where that is allowed. */
static void *mapped(void *where, size_t length, int protection, int flags, int fd, off_t at) {
    uint64_t inode = flags & MAP_ANONYMOUS ? 0 : inode_of(fd);
    if (inode && (flags & MAP_SHARED) && (protection & PROT_WRITE)) {
        pthread_mutex_lock(&lock);
        int failed = fails(ON_MAP);
        if (!failed) note(MAPPED, inode, (uint64_t)at, "", 0);
        pthread_mutex_unlock(&lock);
        if (failed) return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, where, length, protection, flags, fd, at);
}

void *mmap(void *where, size_t length, int protection, int flags, int fd, off_t at) {
    return mapped(where, length, protection, flags, fd, at);
}
void *mmap64(void *where, size_t length, int protection, int flags, int fd, off_t at) {
    return mapped(where, length, protection, flags, fd, at);
}
