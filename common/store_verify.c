/*
 * Reading a store that may be damaged. LMDB trusts its pages: on a damaged one it may abort or read outside its map. So
 * each shard is walked in a child process that writes what it finds into shared memory; when the child dies, the report
 * says where. The checksums of whole files (store_sum.c) are compared first, by plain reading.
 */
#include "common/err.h"
#include "common/store_private.h"
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct walk {
    struct store_report *report; /* in shared memory */
    const char *path;            /* of the store */
    uint64_t number, first, end; /* the shard, its ids */
    bool last;
};

__attribute__((format(printf, 2, 3))) static void problem(struct store_report *report, const char *format, ...)
{
    if (report->problem_count < STORE_MAX_PROBLEMS) {
        va_list args;
        va_start(args, format);
        vsnprintf(report->problems[report->problem_count], sizeof *report->problems, format, args);
        va_end(args);
    }
    report->problem_count++;
}

static void count_reject(struct store_report *report, const struct record *r)
{
    size_t len = 0;
    while (len < r->reject.len && r->reject.data[len] != ':' && len < sizeof report->rules->name - 1)
        len++;
    uint32_t i = 0;
    while (i < report->rule_count &&
           (strncmp(report->rules[i].name, (const char *)r->reject.data, len) != 0 || report->rules[i].name[len] != 0))
        i++;
    if (i == STORE_MAX_RULES) {
        i--;
        snprintf(report->rules[i].name, sizeof report->rules[i].name, "others");
    } else if (i == report->rule_count) {
        memcpy(report->rules[i].name, r->reject.data, len);
        report->rule_count++;
    }
    report->rules[i].count++;
    report->rejects++;
}

static void check_value(struct walk *w, const struct shard *s, uint64_t id, const MDB_val *value, struct record *r)
{
    if (store_value_unpack(id, value->mv_data, value->mv_size, r) < 0) {
        problem(w->report, "%s: %s", s->path, err_text());
        return;
    }
    if (record_has(r, FIELD_REJECT) != store_value_is_reject(value->mv_data, value->mv_size))
        problem(w->report, "%s: id %" PRIu64 ": its mark as a reject is wrong", s->path, id);
    if (record_has(r, FIELD_REJECT))
        count_reject(w->report, r);
    else
        w->report->kept++;
}

/* Says which ids between `expected` and `id` are missing; false when the order of ids is broken. */
static bool check_order(struct walk *w, struct shard *s, uint64_t expected, uint64_t id)
{
    if (id < expected || id >= w->end) {
        problem(w->report, "%s: id %" PRIu64 " stands where id %" PRIu64 " should be: its pages are damaged", s->path,
                id, expected);
        return false;
    }
    if (id > expected)
        problem(w->report, "%s: ids %" PRIu64 " to %" PRIu64 " are missing", s->path, expected, id - 1);
    return true;
}

/* One node: false when the order of ids or of their parts is broken. */
static bool walk_node(struct walk *w, struct shard *s, MDB_val *key, MDB_val *data, uint64_t *expected,
                      struct record *r)
{
    MDB_val found;
    uint64_t number;
    if (key->mv_size != sizeof number)
        return false;
    memcpy(&number, key->mv_data, sizeof number);
    uint64_t id = number >> SHARD_PART_BITS, part = number - (id << SHARD_PART_BITS);
    bool goes_on = s->parts.len > 0, more = data->mv_size == SHARD_PART_BYTES;
    if (goes_on ? id != *expected || data->mv_size > SHARD_PART_BYTES : !check_order(w, s, *expected, id))
        return false;
    if (part != s->parts.len / SHARD_PART_BYTES)
        return false;
    w->report->cursor = *expected = id;
    if (mdb_get(s->reader, s->dbi, key, &found) != 0 || found.mv_data != data->mv_data)
        problem(w->report, "%s: id %" PRIu64 " is not found by its id", s->path, id);
    if (goes_on || more)
        buf_append(&s->parts, data->mv_data, data->mv_size);
    if (!more) {
        MDB_val whole = goes_on ? (MDB_val){s->parts.len, s->parts.data} : *data;
        check_value(w, s, id, &whole, r);
        s->parts.len = 0;
        w->report->cursor = *expected = id + 1;
    }
    return true;
}

static void walk_cursor(struct walk *w, struct shard *s, MDB_cursor *cursor)
{
    MDB_val key, value;
    MDB_stat stat;
    struct record r = {0};
    uint64_t expected = w->first, count = 0;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; rc == 0 && walk_node(w, s, &key, &value, &expected, &r); rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
        count++;
    record_free(&r);
    if (rc != MDB_NOTFOUND || s->parts.len > 0)
        problem(w->report, "%s: its pages are damaged at id %" PRIu64, s->path, expected);
    else if (!w->last && expected != w->end)
        problem(w->report, "%s: ids %" PRIu64 " to %" PRIu64 " are missing", s->path, expected, w->end - 1);
    if (mdb_stat(s->reader, s->dbi, &stat) != 0 || stat.ms_entries != count)
        problem(w->report, "%s: it holds %" PRIu64 " values and says %zu", s->path, count, stat.ms_entries);
}

/* The child: LMDB's last words are of no use to the reader of the report. */
static _Noreturn void walk_shard(struct walk *w)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    struct rlimit none = {0, 0};
    struct shard s;
    MDB_cursor *cursor;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_DFL);
    setrlimit(RLIMIT_CORE, &none);
    if (!freopen("/dev/null", "w", stderr))
        _exit(1);
    if (shard_open(&s, w->path, w->number, false) < 0) {
        problem(w->report, "%s", err_text());
        _exit(err_code() == ERR_DATA ? 0 : err_code());
    }
    if (mdb_txn_renew(s.reader) != 0 || mdb_cursor_open(s.reader, s.dbi, &cursor) != 0) {
        problem(w->report, "%s: cannot be read", s.path);
        _exit(0);
    }
    walk_cursor(w, &s, cursor);
    mdb_cursor_close(cursor);
    shard_close(&s, false);
    _exit(0);
}

static int run_child(struct walk *w)
{
    struct store_report *report = w->report;
    uint64_t before = report->problem_count;
    int status;
    pid_t child = fork();
    if (child < 0)
        return err_sys("cannot start a process");
    if (child == 0)
        walk_shard(w);
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return err_sys("cannot wait for a process");
    }
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    if (code == ERR_AGAIN || code == ERR_IO) {
        bool said = report->problem_count > before && report->problem_count <= STORE_MAX_PROBLEMS;
        return err_set(code, "%s", said ? report->problems[report->problem_count - 1] : "no memory to read the store");
    }
    if (status != 0)
        problem(report, "%s/%06" PRIu64 ".mdb: its pages are damaged at id %" PRIu64 " (reading them ended with %s %d)",
                w->path, w->number, report->cursor, WIFSIGNALED(status) ? "signal" : "exit code",
                WIFSIGNALED(status) ? WTERMSIG(status) : status >> 8);
    return 0;
}

static int verify_shard(struct walk *w)
{
    struct stat st;
    char *file = xasprintf("%s/%06" PRIu64 ".mdb", w->path, w->number);
    int rc = stat(file, &st) < 0 ? err_sys("%s", file) : sum_check(file);
    if (rc < 0 && err_code() == ERR_DATA) {
        problem(w->report, "%s: %s", file, err_text());
        rc = 1;
    } else if (rc == 0) {
        w->report->unsealed++;
    }
    if (rc >= 0) {
        w->report->bytes += (uint64_t)st.st_size;
        w->report->cursor = w->first;
        rc = run_child(w);
    }
    free(file);
    return rc;
}

static int verify_all(const char *path, struct store_report *report)
{
    struct store_meta meta = {0};
    int found = store_meta_read(&meta, path);
    int64_t count = found > 0 ? store_count_shards(path) : -1;
    int rc = 0;
    if (found == 0)
        return err_set(ERR_DATA, "%s: no store (it has no meta.json)", path);
    if (count < 0 && err_code() == ERR_DATA)
        problem(report, "%s", err_text());
    else if (count < 0)
        rc = -1;
    for (int64_t i = 0; i < count && rc == 0; i++) {
        uint64_t first = (uint64_t)i * meta.shard_records;
        struct walk w = {report, path, (uint64_t)i, first, first + meta.shard_records, i == count - 1};
        rc = verify_shard(&w);
    }
    free(meta.run);
    return rc;
}

int store_verify(const char *path, struct store_report *report)
{
    struct store_report *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return err_sys("cannot get shared memory");
    int rc = verify_all(path, shared);
    *report = *shared;
    munmap(shared, sizeof *shared);
    return rc;
}
