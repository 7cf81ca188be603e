/*
 * Who may join a link (link.h): CURVE keys, and the guard, a ZAP handler (rfc.zeromq.org/spec/27) that admits the
 * listed keys alone. A CURVE server without a handler lets in whoever knows its public key. Whom libzmq turns away is
 * told by its monitor.
 */
#include "common/err.h"
#include "common/link_private.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_BYTES 32
#define KEY_CHARS 40 /* in Z85 */
#define MAX_FILE_BYTES (1u << 20)
#define DOMAIN "atelier"

struct link_guard {
    pthread_t thread;
    void *socket;
    unsigned char *keys; /* admitted, one behind the other */
    size_t count;
};

static bool is_local(const char *address)
{
    static const char *const local[] = {"ipc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:"};
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (strncmp(address, local[i], strlen(local[i])) == 0)
            return true;
    return false;
}

/* Reads DIR/NAME, lines of keys in Z85. A secret that others can read is none. */
static int read_keys(struct buf *text, const char *dir, const char *name)
{
    struct stat st;
    char *path = xasprintf("%s/%s", dir, name);
    text->len = 0;
    int rc = stat(path, &st) < 0 ? err_sys("%s", path) : 0;
    if (rc == 0 && st.st_mode & (S_IRWXG | S_IRWXO))
        rc = err_set(ERR_USAGE, "%s: others than its owner may use it; say: chmod 600 %s", path, path);
    if (rc == 0)
        rc = file_read(path, MAX_FILE_BYTES, text);
    if (rc == 0) {
        buf_string(text);
        for (size_t at = 0; at < text->len && rc == 0; at += KEY_CHARS + 1) {
            bool whole = text->len - at > KEY_CHARS && text->data[at + KEY_CHARS] == '\n' &&
                         memchr(text->data + at, '\n', KEY_CHARS) == NULL;
            if (!whole)
                rc = err_set(ERR_DATA, "%s: each line is a key of %d characters and nothing else", path, KEY_CHARS);
        }
    }
    if (rc == 0 && text->len == 0)
        rc = err_set(ERR_DATA, "%s: it holds no key", path);
    free(path);
    return rc;
}

/* Line `number` of what read_keys gave. */
static bool decode(unsigned char *key, const struct buf *text, size_t number)
{
    char z85[KEY_CHARS + 1];
    if ((number + 1) * (KEY_CHARS + 1) > text->len)
        return false;
    memcpy(z85, text->data + number * (KEY_CHARS + 1), KEY_CHARS);
    z85[KEY_CHARS] = 0;
    return zmq_z85_decode(key, z85) != NULL;
}

/* Answers one request: version, id, domain, address, identity, mechanism, credentials. */
static bool answer(const struct link_guard *g)
{
    char id[256] = {0};
    unsigned char frame[256] = {0};
    int id_len = 0, index = 0, more = 1;
    bool admitted = false;
    for (; more; index++) {
        size_t size = sizeof more;
        int len = zmq_recv(g->socket, index == 1 ? (void *)id : (void *)frame, 256, 0);
        if (len < 0 || zmq_getsockopt(g->socket, ZMQ_RCVMORE, &more, &size) < 0)
            return false;
        if (index == 1)
            id_len = len < (int)sizeof id ? len : (int)sizeof id;
        for (size_t i = 0; index == 6 && len == KEY_BYTES && i < g->count; i++)
            admitted = admitted || memcmp(g->keys + i * KEY_BYTES, frame, KEY_BYTES) == 0;
    }
    admitted = admitted && index == 7;
    const char *code = admitted ? "200" : "400", *text = admitted ? "OK" : "this key is not listed";
    return zmq_send(g->socket, "1.0", 3, ZMQ_SNDMORE) >= 0 &&
           zmq_send(g->socket, id, (size_t)id_len, ZMQ_SNDMORE) >= 0 &&
           zmq_send(g->socket, code, 3, ZMQ_SNDMORE) >= 0 &&
           zmq_send(g->socket, text, strlen(text), ZMQ_SNDMORE) >= 0 && zmq_send(g->socket, "", 0, ZMQ_SNDMORE) >= 0 &&
           zmq_send(g->socket, "", 0, 0) >= 0;
}

/* Until the context ends. */
static void *stand_guard(void *self)
{
    struct link_guard *g = self;
    while (answer(g))
        ;
    zmq_close(g->socket);
    return NULL;
}

static int start_thread(struct link *l, const struct buf *allowed)
{
    struct link_guard *g = xcalloc(1, sizeof *g);
    size_t lines = allowed->len / (KEY_CHARS + 1);
    g->keys = xmalloc(lines * KEY_BYTES);
    while (g->count < lines && decode(g->keys + g->count * KEY_BYTES, allowed, g->count))
        g->count++;
    g->socket = zmq_socket(l->context, ZMQ_REP);
    if (g->socket && zmq_bind(g->socket, "inproc://zeromq.zap.01") == 0 &&
        pthread_create(&g->thread, NULL, stand_guard, g) == 0) {
        l->guard = g;
        return 0;
    }
    if (g->socket)
        zmq_close(g->socket);
    free(g->keys);
    free(g);
    return err_set(ERR_AGAIN, "%s: cannot start the guard of its keys", l->uri);
}

static int set_keys(struct link *l, const char *dir)
{
    unsigned char public[KEY_BYTES], secret[KEY_BYTES], server[KEY_BYTES];
    struct buf own = {0}, peers = {0};
    const int yes = 1;
    int rc = read_keys(&own, dir, "key") < 0 || read_keys(&peers, dir, l->binds ? "allowed" : "server") < 0 ? -1 : 0;
    if (rc == 0 && (!decode(public, &own, 0) || !decode(secret, &own, 1) || !decode(server, &peers, 0)))
        rc = err_set(ERR_DATA, "%s: its keys are damaged", dir);
    if (rc == 0)
        rc = zmq_setsockopt(l->socket, ZMQ_CURVE_PUBLICKEY, public, KEY_BYTES) |
             zmq_setsockopt(l->socket, ZMQ_CURVE_SECRETKEY, secret, KEY_BYTES);
    if (rc == 0 && l->binds)
        rc = zmq_setsockopt(l->socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) |
             zmq_setsockopt(l->socket, ZMQ_ZAP_DOMAIN, DOMAIN, strlen(DOMAIN)) | start_thread(l, &peers);
    else if (rc == 0)
        rc = zmq_setsockopt(l->socket, ZMQ_CURVE_SERVERKEY, server, KEY_BYTES);
    explicit_bzero(secret, sizeof secret);
    if (own.len > 0)
        explicit_bzero(own.data, own.len);
    buf_free(&own);
    buf_free(&peers);
    return rc == 0 ? 0 : err_wrap("%s: keys", l->uri);
}

static int watch_handshakes(struct link *l)
{
    static const char watched[] = "inproc://handshakes";
    const int unlimited = 0; /* libzmq's thread waits for room */
    l->handshakes = zmq_socket(l->context, ZMQ_PAIR);
    if (l->handshakes == NULL || zmq_setsockopt(l->handshakes, ZMQ_RCVHWM, &unlimited, sizeof unlimited) != 0 ||
        zmq_socket_monitor(l->socket, watched, ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) !=
            0 ||
        zmq_connect(l->handshakes, watched) != 0)
        return err_set(ERR_AGAIN, "%s: %s", l->uri, zmq_strerror(errno));
    return 0;
}

const char *link_guard_refusal(struct link *l)
{
    unsigned char event[8], address[256];
    uint16_t kind; /* and four bytes of detail */
    if (zmq_recv(l->handshakes, event, sizeof event, ZMQ_DONTWAIT) < 0)
        return NULL;
    zmq_recv(l->handshakes, address, sizeof address, ZMQ_DONTWAIT);
    memcpy(&kind, event, sizeof kind);
    if (kind == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
        return l->binds ? "a key that is not listed" : "the other end does not list this host's key";
    return "another protocol, or keys at one end only";
}

int link_guard_start(struct link *l, const char *address, const struct link_options *options)
{
    if (watch_handshakes(l) < 0)
        return -1;
    if (options->keys)
        return set_keys(l, options->keys);
    if (is_local(address) || options->insecure)
        return 0;
    return err_set(ERR_USAGE,
                   "%s: other hosts can reach it: give it keys (atelier keys DIR, then --keys DIR), or say --insecure",
                   l->uri);
}

void link_guard_stop(struct link *l)
{
    if (l->guard == NULL)
        return;
    pthread_join(l->guard->thread, NULL);
    free(l->guard->keys);
    free(l->guard);
    l->guard = NULL;
}

static int write_keys(const char *dir, const char *name, const char *first, const char *second)
{
    char *path = xasprintf("%s/%s", dir, name), *text = xasprintf("%s\n%s%s", first, second, *second ? "\n" : "");
    mode_t before = umask(077);
    int rc = access(path, F_OK) == 0 ? err_set(ERR_USAGE, "%s: is there already; keys are not replaced", path)
                                     : file_write(path, text, strlen(text));
    umask(before);
    explicit_bzero(text, strlen(text));
    free(text);
    free(path);
    return rc;
}

int link_keys_make(const char *dir)
{
    char public[KEY_CHARS + 1], secret[KEY_CHARS + 1];
    if (zmq_curve_keypair(public, secret) != 0)
        return err_set(ERR_BUG, "this libzmq has no CURVE: %s", zmq_strerror(errno));
    mode_t before = umask(077);
    int rc = file_make_dirs(dir);
    umask(before);
    if (rc == 0)
        rc = write_keys(dir, "key", public, secret) < 0 || write_keys(dir, "allowed", public, "") < 0 ||
                     write_keys(dir, "server", public, "") < 0
                 ? -1
                 : 0;
    explicit_bzero(secret, sizeof secret);
    return rc;
}
