/* Stands between a program and the kernel where files are changed, and makes
 * the nth such call fail, fall short, or be the program's last.
 *
 * LD_PRELOAD alone would miss calls that do not go through libc (rustix makes
 * them itself), so a seccomp filter traps them and a handler of SIGSYS makes
 * them in its own name, marked by their sixth argument, which none of them
 * has. The filter is inherited over exec, so children need this shim as well.
 * What is written through a mapping is not seen.
 *
 * SHIM_UNDER   only files below this directory
 * SHIM_STATE   a file of 64 bytes, shared: calls so far, whether it tripped
 * SHIM_MODE    count, fail, short, kill (before the call), killafter
 * SHIM_AT      the call it begins with, from 0
 * SHIM_ERRNO   what `fail` says
 * SHIM_STICKY  1: from that call on all, and in children too
 * SHIM_TRACE   a file that gets a record of every call that succeeded:
 *              op, path, other path, offset or flags, length; then its bytes
 *
 * Children do not count: their calls fail once a sticky fault has tripped. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef __x86_64__
#error "only x86-64 is written for"
#endif

#define MARK 0x5ea1ed5ea1ed5ea1UL
#define LONGEST 4096

struct state {
    unsigned long calls;
    unsigned int tripped;
    unsigned int lock;
};

static struct state *state;
static char under[LONGEST];
static size_t under_length;
static enum { COUNT, FAIL, SHORT, KILL, KILLAFTER } mode;
static unsigned long at;
static int error_number, sticky, is_child, trace = -1;

static long raw(long nr, long a, long b, long c, long d, long e)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = (long)MARK;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* The path of an open file; its length, 0 where it has none. */
static size_t path_of(int fd, char *out)
{
    char link[32] = "/proc/self/fd/";
    char digits[12];
    int n = 0, i = 14;
    unsigned value = (unsigned)fd;
    if (fd == AT_FDCWD) {
        strcpy(link, "/proc/self/cwd");
    } else {
        if (fd < 0)
            return 0;
        do
            digits[n++] = (char)('0' + value % 10);
        while (value /= 10);
        while (n)
            link[i++] = digits[--n];
        link[i] = 0;
    }
    long length = raw(SYS_readlink, (long)link, (long)out, LONGEST - 1, 0, 0);
    if (length <= 0)
        length = 0;
    out[length] = 0;
    return (size_t)length;
}

static void resolve(int dir, const char *path, char *out)
{
    size_t length = 0;
    if (path[0] != '/') {
        length = path_of(dir, out);
        out[length++] = '/';
        while (path[0] == '.' && path[1] == '/')
            path += 2;
    }
    size_t rest = strnlen(path, LONGEST - 1 - length);
    memcpy(out + length, path, rest);
    out[length + rest] = 0;
}

static int is_ours(const char *path)
{
    return !strncmp(path, under, under_length) && (path[under_length] == '/' || !path[under_length]);
}

struct call {
    long nr, a[5];
    const char *op;
    char path[LONGEST], other[LONGEST];
    /* Whether it needs room, as a full disk has none. */
    int takes_room, is_write;
};

/* What the call does to which file; 0 where it is none of our business. */
static int look(struct call *c)
{
    long *a = c->a;
    c->path[0] = c->other[0] = 0;
    c->takes_room = 1;
    c->is_write = 0;
    switch (c->nr) {
    case SYS_write:
    case SYS_writev:
    case SYS_pwrite64:
    case SYS_pwritev:
        c->op = "write";
        c->is_write = 1;
        path_of((int)a[0], c->path);
        break;
    case SYS_fsync:
    case SYS_fdatasync:
        c->op = "sync";
        path_of((int)a[0], c->path);
        break;
    case SYS_ftruncate:
        c->op = "truncate";
        c->takes_room = 0;
        path_of((int)a[0], c->path);
        break;
    case SYS_fallocate:
        c->op = "allocate";
        path_of((int)a[0], c->path);
        break;
    case SYS_open:
        c->op = "open";
        resolve(AT_FDCWD, (char *)a[0], c->path);
        break;
    case SYS_openat:
        c->op = "open";
        resolve((int)a[0], (char *)a[1], c->path);
        break;
    case SYS_mkdir:
        c->op = "mkdir";
        resolve(AT_FDCWD, (char *)a[0], c->path);
        break;
    case SYS_mkdirat:
        c->op = "mkdir";
        resolve((int)a[0], (char *)a[1], c->path);
        break;
    case SYS_rename:
        c->op = "rename";
        resolve(AT_FDCWD, (char *)a[0], c->path);
        resolve(AT_FDCWD, (char *)a[1], c->other);
        break;
    case SYS_renameat:
    case SYS_renameat2:
        c->op = "rename";
        resolve((int)a[0], (char *)a[1], c->path);
        resolve((int)a[2], (char *)a[3], c->other);
        break;
    case SYS_link:
        c->op = "link";
        resolve(AT_FDCWD, (char *)a[0], c->path);
        resolve(AT_FDCWD, (char *)a[1], c->other);
        break;
    case SYS_linkat:
        c->op = "link";
        resolve((int)a[0], (char *)a[1], c->path);
        resolve((int)a[2], (char *)a[3], c->other);
        break;
    case SYS_unlink:
    case SYS_rmdir:
        c->op = "unlink";
        c->takes_room = 0;
        resolve(AT_FDCWD, (char *)a[0], c->path);
        break;
    case SYS_unlinkat:
        c->op = "unlink";
        c->takes_room = 0;
        resolve((int)a[0], (char *)a[1], c->path);
        break;
    default:
        return 0;
    }
    return is_ours(c->path) || (c->other[0] && is_ours(c->other));
}

static long make(const struct call *c)
{
    return raw(c->nr, c->a[0], c->a[1], c->a[2], c->a[3], c->a[4]);
}

/* Half of a write, which is what a disk that is nearly full may take. */
static long make_half(const struct call *c)
{
    struct call half = *c;
    if (c->nr == SYS_write || c->nr == SYS_pwrite64) {
        if (c->a[2] > 1)
            half.a[2] = c->a[2] / 2;
        return make(&half);
    }
    struct iovec first = *(struct iovec *)c->a[1];
    if (first.iov_len > 1)
        first.iov_len /= 2;
    half.a[1] = (long)&first;
    half.a[2] = 1;
    return make(&half);
}

static size_t put(char *out, const char *text)
{
    size_t length = strlen(text);
    memcpy(out, text, length);
    return length;
}

static size_t put_number(char *out, long number)
{
    char digits[24];
    int n = 0;
    size_t length = 0;
    do
        digits[n++] = (char)('0' + number % 10);
    while (number /= 10);
    while (n)
        out[length++] = digits[--n];
    return length;
}

static void record(const struct call *c, long result)
{
    char line[2 * LONGEST + 128];
    long offset = 0, length = 0;
    if (c->is_write) {
        length = result;
        offset = c->nr == SYS_pwrite64 || c->nr == SYS_pwritev
                     ? c->a[3]
                     : raw(SYS_lseek, c->a[0], 0, SEEK_CUR, 0, 0) - result;
    } else if (c->nr == SYS_ftruncate) {
        offset = c->a[1];
    } else if (c->nr == SYS_open) {
        offset = c->a[1];
    } else if (c->nr == SYS_openat) {
        offset = c->a[2];
    }
    size_t end = put(line, c->op);
    line[end++] = '\t';
    end += put(line + end, c->path);
    line[end++] = '\t';
    end += put(line + end, c->other);
    line[end++] = '\t';
    end += put_number(line + end, offset);
    line[end++] = '\t';
    end += put_number(line + end, length);
    line[end++] = '\n';
    raw(SYS_write, trace, (long)line, (long)end, 0, 0);
    if (!length)
        return;
    if (c->nr == SYS_write || c->nr == SYS_pwrite64) {
        raw(SYS_write, trace, c->a[1], length, 0, 0);
        return;
    }
    const struct iovec *part = (struct iovec *)c->a[1];
    for (long left = length; left > 0; part++) {
        long now = left < (long)part->iov_len ? left : (long)part->iov_len;
        raw(SYS_write, trace, (long)part->iov_base, now, 0, 0);
        left -= now;
    }
}

static void die(void)
{
    raw(SYS_kill, raw(SYS_getpid, 0, 0, 0, 0, 0), SIGKILL, 0, 0, 0);
    for (;;)
        raw(SYS_sched_yield, 0, 0, 0, 0, 0);
}

static int may_fail(const struct call *c)
{
    if (mode == SHORT)
        return c->is_write;
    return c->takes_room || (error_number != ENOSPC && error_number != EDQUOT);
}

static long answer(struct call *c)
{
    if (!look(c))
        return make(c);
    if (is_child) {
        if (mode == FAIL && sticky && __atomic_load_n(&state->tripped, __ATOMIC_SEQ_CST) && may_fail(c))
            return -error_number;
        return make(c);
    }
    if (trace >= 0)
        while (__atomic_exchange_n(&state->lock, 1, __ATOMIC_ACQUIRE))
            raw(SYS_sched_yield, 0, 0, 0, 0, 0);
    unsigned long number = __atomic_fetch_add(&state->calls, 1, __ATOMIC_SEQ_CST);
    int fires = number >= at && mode != COUNT;
    if ((mode == FAIL || mode == SHORT) && fires)
        fires = may_fail(c) && (!__atomic_exchange_n(&state->tripped, 1, __ATOMIC_SEQ_CST) || sticky);
    long result;
    if (fires && mode == KILL)
        die();
    if (fires && mode == FAIL)
        result = -error_number;
    else
        result = fires && mode == SHORT ? make_half(c) : make(c);
    if (fires && mode == KILLAFTER)
        die();
    if (trace >= 0) {
        if (result >= 0)
            record(c, result);
        __atomic_store_n(&state->lock, 0, __ATOMIC_RELEASE);
    }
    return result;
}

static void on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct call c;
    c.nr = info->si_syscall;
    c.a[0] = r[REG_RDI];
    c.a[1] = r[REG_RSI];
    c.a[2] = r[REG_RDX];
    c.a[3] = r[REG_R10];
    c.a[4] = r[REG_R8];
    r[REG_RAX] = answer(&c);
}

static const int TRAPPED[] = {
    SYS_write, SYS_writev, SYS_pwrite64, SYS_pwritev, SYS_fsync, SYS_fdatasync, SYS_ftruncate,
    SYS_fallocate, SYS_mkdir, SYS_mkdirat, SYS_rename, SYS_renameat, SYS_renameat2, SYS_link,
    SYS_linkat, SYS_unlink, SYS_unlinkat, SYS_rmdir,
};

static void fail(const char *what)
{
    dprintf(2, "shim: %s: %s\n", what, strerror(errno));
    _exit(99);
}

__attribute__((constructor)) static void begin(void)
{
    const char *directory = getenv("SHIM_UNDER"), *shared = getenv("SHIM_STATE");
    const char *how = getenv("SHIM_MODE"), *text;
    if (!directory || !shared || !how)
        return;
    strncpy(under, directory, LONGEST - 1);
    under_length = strlen(under);
    mode = !strcmp(how, "fail")        ? FAIL
           : !strcmp(how, "short")     ? SHORT
           : !strcmp(how, "kill")      ? KILL
           : !strcmp(how, "killafter") ? KILLAFTER
                                       : COUNT;
    at = (text = getenv("SHIM_AT")) ? strtoul(text, 0, 10) : 0;
    error_number = (text = getenv("SHIM_ERRNO")) ? atoi(text) : EIO;
    sticky = (text = getenv("SHIM_STICKY")) && *text == '1';
    is_child = getenv("SHIM_CHILD") != 0;
    setenv("SHIM_CHILD", "1", 1);
    /* A child has its parent's filter and no handler yet. */
    int file = open(shared, O_RDWR | O_CLOEXEC | (is_child ? 0 : O_CREAT), 0600);
    if (file < 0 || (!is_child && ftruncate(file, 64)))
        fail(shared);
    state = mmap(0, 64, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (state == MAP_FAILED)
        fail("mmap");
    close(file);
    if (!is_child && (text = getenv("SHIM_TRACE"))) {
        trace = open(text, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        if (trace < 0)
            fail(text);
        /* Out of the way of a program that counts on low numbers. */
        int high = fcntl(trace, F_DUPFD_CLOEXEC, 900);
        if (high >= 0) {
            close(trace);
            trace = high;
        }
    }
    struct sigaction action = {0};
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
    if (sigaction(SIGSYS, &action, 0))
        fail("sigaction");

    struct sock_filter program[128];
    int n = 0;
    const unsigned nr = offsetof(struct seccomp_data, nr);
    const unsigned last = offsetof(struct seccomp_data, args[5]);
#define ADD(...) program[n++] = (struct sock_filter)__VA_ARGS__
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, last));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)MARK, 0, 3));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, last + 4));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(MARK >> 32), 0, 1));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr));
    for (size_t i = 0; i < sizeof TRAPPED / sizeof *TRAPPED; i++) {
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)TRAPPED[i], 0, 1));
        ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
    }
    /* Opening a file changes something where it may create or empty one. */
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])));
    ADD(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_CREAT | O_TRUNC, 0, 1));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_open, 0, 3));
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])));
    ADD(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_CREAT | O_TRUNC, 0, 1));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    struct sock_fprog filter = {.len = (unsigned short)n, .filter = program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
        fail("seccomp");
}
