/*
 * bench-store [DIR]: what the store takes of time and of disk, beside plainer ways to keep the same bytes, in turns:
 * one LMDB file put to directly, and a flat file whose offsets are known, each made durable as often as the store.
 * Then how many records a second a trainer reads in its random order. DIR (default /var/tmp): the disk that is meant.
 */
#include "common/clock.h"
#include "common/err.h"
#include "common/random.h"
#include "common/stage_counts.h"
#include "common/store_private.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMIT_RECORDS 4096u /* as the store's */
#define ROUNDS 3
#define MAP_BYTES ((size_t)8 << 30)

enum way { STORE, LMDB, FLAT, WAYS };
static const char *const ways[WAYS] = {"the store", "plain LMDB", "flat file"};
static char dir[4096];

struct load {
    const char *name;
    size_t records, caption, tokens, codes, image; /* of each: bytes, ids, codes, bytes */
};

struct content {
    struct record *records;
    struct buf values; /* as the store packs them, one behind the other */
    size_t *offsets;   /* one more than records */
    size_t payload;    /* bytes: text, two a token, 13 bits a code, the picture */
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench-store: %s: %s\n", what, err_text());
    exit(1);
}

static void check(int rc, const char *what)
{
    if (rc != 0)
        die(what);
}

static uint32_t draw(uint64_t id, uint64_t n)
{
    return random_philox(1, id, n).v[0];
}

static void make_record(const struct load *l, uint64_t id, struct record *r, size_t *payload)
{
    char key[64];
    size_t len = (size_t)snprintf(key, sizeof key, "cc/%05u.tar:%09u", (unsigned)id / 10000, (unsigned)id);
    size_t caption = l->caption / 2 + draw(id, 0) % (l->caption + 1), tokens = l->tokens * caption / (l->caption + 1);
    char *text = xmalloc(caption + l->image + 1);
    int32_t *ints = xcalloc(tokens + l->codes + 1, sizeof *ints);
    for (size_t i = 0; i < caption + l->image; i++)
        text[i] = (char)("etaoin shrdlu"[(i * 7 + id * 5) % 13]);
    for (size_t i = 0; i < tokens + l->codes; i++)
        ints[i] = (int32_t)(draw(id, i + 1) % (i < tokens ? 16384 : 8192));
    record_set_u64(r, FIELD_ID, id);
    record_set_string(r, FIELD_KEY, key, len);
    record_set_string(r, FIELD_CAPTION, text, caption);
    if (tokens > 0)
        record_set_ints(r, FIELD_TOKENS, ints, tokens);
    if (l->codes > 0)
        record_set_ints(r, FIELD_CODES, ints + tokens, l->codes);
    if (l->image > 0)
        record_set_string(r, FIELD_IMAGE, text + caption, l->image);
    *payload += len + caption + 2 * tokens + l->codes * 13 / 8 + l->image;
    free(text);
    free(ints);
}

static void make_content(const struct load *l, struct content *c)
{
    *c = (struct content){.records = xcalloc(l->records, sizeof *c->records),
                          .offsets = xcalloc(l->records + 1, sizeof *c->offsets)};
    for (size_t i = 0; i < l->records; i++) {
        make_record(l, i, &c->records[i], &c->payload);
        store_value_pack(&c->records[i], &c->values);
        c->offsets[i + 1] = c->values.len;
    }
}

static void free_content(const struct load *l, struct content *c)
{
    for (size_t i = 0; i < l->records; i++)
        record_free(&c->records[i]);
    free(c->records);
    free(c->offsets);
    buf_free(&c->values);
}

static char *place(enum way way)
{
    return xasprintf("%s/%d", dir, way);
}

static MDB_env *open_plain(const char *path, unsigned flags)
{
    MDB_env *env;
    check(mdb_env_create(&env), "mdb_env_create");
    check(mdb_env_set_mapsize(env, MAP_BYTES), "mdb_env_set_mapsize");
    check(mdb_env_open(env, path, MDB_NOSUBDIR | flags, 0600), path);
    return env;
}

static MDB_txn *begin_plain(MDB_env *env, MDB_dbi *dbi, unsigned flags)
{
    MDB_txn *txn;
    check(mdb_txn_begin(env, NULL, flags, &txn), "mdb_txn_begin");
    check(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, dbi), "mdb_dbi_open");
    return txn;
}

static void write_store(const struct load *l, const struct content *c, const char *path)
{
    struct store *s;
    check(store_open_write(&s, path, NULL), path);
    for (size_t i = 0; i < l->records; i++)
        check(store_put(s, &c->records[i]), path);
    check(store_close(&s), path);
}

static void write_lmdb(const struct load *l, const struct content *c, const char *path)
{
    MDB_env *env = open_plain(path, 0);
    MDB_dbi dbi;
    MDB_txn *txn = begin_plain(env, &dbi, 0);
    for (uint64_t i = 0; i < l->records; i++) {
        MDB_val key = {sizeof i, &i}, data = {c->offsets[i + 1] - c->offsets[i], c->values.data + c->offsets[i]};
        check(mdb_put(txn, dbi, &key, &data, MDB_APPEND), path);
        if ((i + 1) % COMMIT_RECORDS == 0) {
            check(mdb_txn_commit(txn), path);
            txn = begin_plain(env, &dbi, 0);
        }
    }
    check(mdb_txn_commit(txn), path);
    mdb_env_close(env);
}

static void write_flat(const struct load *l, const struct content *c, const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        die(path);
    for (size_t i = 0; i < l->records; i++) {
        size_t len = c->offsets[i + 1] - c->offsets[i];
        check(fwrite(c->values.data + c->offsets[i], 1, len, file) == len ? 0 : -1, path);
        if ((i + 1) % COMMIT_RECORDS == 0 || i + 1 == l->records)
            check(fflush(file) || fdatasync(fileno(file)), path);
    }
    fclose(file);
}

/* Each reads all records in random order and unpacks them. */
static void read_store(const struct load *l, const struct content *c, const char *path)
{
    struct store *s;
    struct record r = {0};
    (void)c;
    check(store_open_read(&s, path), path);
    for (size_t i = 0; i < l->records; i++)
        check(store_get(s, random_permute(l->records, 1, i), &r) != 1, path);
    store_close(&s);
    record_free(&r);
}

static void read_lmdb(const struct load *l, const struct content *c, const char *path)
{
    MDB_env *env = open_plain(path, MDB_RDONLY);
    MDB_dbi dbi;
    MDB_txn *txn = begin_plain(env, &dbi, MDB_RDONLY);
    struct record r = {0};
    (void)c;
    for (size_t i = 0; i < l->records; i++) {
        uint64_t id = random_permute(l->records, 1, i);
        MDB_val key = {sizeof id, &id}, data;
        check(mdb_get(txn, dbi, &key, &data), path);
        check(store_value_unpack(id, data.mv_data, data.mv_size, &r), path);
    }
    mdb_txn_abort(txn);
    mdb_env_close(env);
    record_free(&r);
}

static void read_flat(const struct load *l, const struct content *c, const char *path)
{
    int file = open(path, O_RDONLY);
    struct record r = {0};
    struct buf value = {0};
    for (size_t i = 0; i < l->records; i++) {
        uint64_t id = random_permute(l->records, 1, i);
        size_t len = c->offsets[id + 1] - c->offsets[id];
        value.len = 0;
        buf_reserve(&value, len);
        check(pread(file, value.data, len, (off_t)c->offsets[id]) == (ssize_t)len ? 0 : -1, path);
        check(store_value_unpack(id, value.data, len, &r), path);
    }
    close(file);
    buf_free(&value);
    record_free(&r);
}

static void remove_all(void)
{
    char *command = xasprintf("rm -rf %s/*", dir);
    check(system(command), command);
    free(command);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, by_size);
    return values[ROUNDS / 2];
}

static double file_bytes(enum way way)
{
    char *command = xasprintf("du -scb %s/%d* | tail -n 1", dir, way), line[64] = "";
    FILE *pipe = popen(command, "r");
    if (!pipe || !fgets(line, sizeof line, pipe))
        die(command);
    pclose(pipe);
    free(command);
    return atof(line);
}

static void bench(const struct load *l)
{
    typedef void work(const struct load *l, const struct content *c, const char *path);
    static work *const writers[WAYS] = {write_store, write_lmdb, write_flat};
    static work *const readers[WAYS] = {read_store, read_lmdb, read_flat};
    struct content c;
    double seconds[2][WAYS][ROUNDS];
    make_content(l, &c);
    for (int round = 0; round < ROUNDS; round++) {
        remove_all();
        for (int i = 0; i < 2 * WAYS; i++) {
            char *path = place(i % WAYS);
            double start = clock_now();
            (i < WAYS ? writers : readers)[i % WAYS](l, &c, path);
            seconds[i / WAYS][i % WAYS][round] = clock_now() - start;
            free(path);
        }
    }
    double payload = (double)c.payload, records = (double)l->records;
    printf("%s: %zu records, payload %.0f bytes each\n", l->name, l->records, payload / records);
    for (int way = 0; way < WAYS; way++) {
        double write = median(seconds[0][way]), read = median(seconds[1][way]);
        printf("  %-12s %9.0f records/s appended (%5.0f MB/s), %9.0f records/s read at random, %8.0f bytes a record, "
               "%.2f of the payload\n",
               ways[way], records / write, payload / write * 1e-6, records / read, file_bytes(way) / records,
               file_bytes(way) / payload);
    }
    free_content(l, &c);
}

int main(int argc, char **argv)
{
    static const struct load loads[] = {
        {"captions", 200000, 80, 0, 0, 0},
        {"captions, tokens and 1,024 codes", 60000, 80, 24, 1024, 0},
        {"long captions, tokens and 1,024 codes", 60000, 250, 70, 1024, 0},
        {"captions and 256 codes", 100000, 80, 24, 256, 0},
        {"pictures of 100 KB", 2000, 80, 0, 0, 100000},
    };
    snprintf(dir, sizeof dir, "%s/atelier-bench-store-XXXXXX", argc > 1 ? argv[1] : "/var/tmp");
    if (!mkdtemp(dir))
        die(dir);
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
        bench(&loads[i]);
    remove_all();
    rmdir(dir);
    return 0;
}
