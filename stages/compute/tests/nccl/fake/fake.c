/* Stands in, on the host's memory, for libnccl.so.2, for CUDA's runtime and for libtorch's current stream. Ranks are
 * threads of one process; a call takes place when the last rank has come, whose thread does all the work. What goes wrong,
 * and when, is set through the fake_ functions, which also tell what was called and how often.
 *
 *   cc -shared -fPIC [-DVERSION=22809] [-DWITHOUT_ABORT] fake.c
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "numbers.h"

#ifndef VERSION
#define VERSION 22809
#endif

enum { RANKS = 8, CALLS = 256, NAMES = 64, FAULTS = 8 };
enum { OK = 0, INVALID_ARGUMENT = 4, IN_PROGRESS = 7, NOT_READY = 600 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* What the test sets. */
static struct { const char *function; int rank; long call; unsigned status; } faults[FAULTS];
static int fault_count;
static struct { long after; unsigned status; } asynchronous[RANKS];
static long lag;    /* looks at an event before it is done */
static long settle; /* looks at a communicator before a call is on the stream */
static long stall;  /* calls do not take place any more */
static long gpu;    /* the current GPU of a new thread */
static long hold;   /* a look at a communicator does not end before this is over */
static pthread_cond_t over = PTHREAD_COND_INITIALIZER;
static const char *last_error = "";

/* What the test asks for. */
static struct { const char *name; int rank; long count; } counts[NAMES];
static int count_count;

/* Counts under a name; `lock` is held. */
static long count(const char *name, int rank) {
    int i;
    for (i = 0; i < count_count; i++)
        if (counts[i].rank == rank && !strcmp(counts[i].name, name)) return ++counts[i].count;
    counts[count_count].name = name;
    counts[count_count].rank = rank;
    return counts[count_count++].count = 1;
}

void fake_set(const char *name, long value) {
    pthread_mutex_lock(&lock);
    if (!strcmp(name, "lag")) lag = value;
    if (!strcmp(name, "settle")) settle = value;
    if (!strcmp(name, "stall")) stall = value;
    if (!strcmp(name, "gpu")) gpu = value;
    if (!strcmp(name, "hold")) hold = value;
    if (!hold) pthread_cond_broadcast(&over);
    pthread_mutex_unlock(&lock);
}

/* The call of this number (from 1) of a function returns `status`; rank -1 where there is none. */
void fake_fail(const char *function, int rank, long call, unsigned status) {
    pthread_mutex_lock(&lock);
    faults[fault_count].function = strdup(function);
    faults[fault_count].rank = rank;
    faults[fault_count].call = call;
    faults[fault_count++].status = status;
    pthread_mutex_unlock(&lock);
}

/* From the look `after` on, counted from now, a rank's communicator reports `status`. */
void fake_async(int rank, long after, unsigned status) {
    pthread_mutex_lock(&lock);
    asynchronous[rank].after = after;
    asynchronous[rank].status = status;
    pthread_mutex_unlock(&lock);
}

void fake_say(const char *message) { last_error = strdup(message); }

/* How often a function was called by a rank, or by all with -1. */
long fake_count(const char *name, int rank) {
    long sum = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count_count; i++)
        if ((rank < 0 || counts[i].rank == rank) && !strcmp(counts[i].name, name)) sum += counts[i].count;
    pthread_mutex_unlock(&lock);
    return sum;
}

/* Counts a call and says how it fails; `lock` is held. */
static unsigned enter(const char *function, int rank) {
    long call = count(function, rank);
    for (int i = 0; i < fault_count; i++)
        if (faults[i].rank == rank && faults[i].call == call && !strcmp(faults[i].function, function))
            return faults[i].status;
    return OK;
}

/* Groups, and what takes place in them. */

enum what { ALL_REDUCE, ALL_GATHER, BROADCAST };
struct call { enum what what; const char *send; char *receive; size_t numbers; int type, root; };
struct id { char bytes[128]; };
struct config { size_t size; unsigned magic, version; int blocking; };

struct group {
    struct id id;
    int world, joined, parting, broken;
    long done, begun[RANKS];
    struct call calls[RANKS][CALLS];
    struct group *next;
};
struct comm { struct group *group; int rank, dead, parting; long unsettled; };
struct stream { struct comm *comm; long call; int ordered; };
struct event { struct stream *of; struct comm *comm; long call, looks; };

static struct group *groups;
static __thread struct stream torch;
static __thread int current = -1;
static __thread int sticky;

/* One call of all ranks; `lock` is held. */
static void take_place(struct group *group) {
    struct call *of[RANKS];
    for (int rank = 0; rank < group->world; rank++) of[rank] = &group->calls[rank][group->done % CALLS];
    size_t numbers = of[0]->numbers, bytes = numbers * width(of[0]->type);
    switch (of[0]->what) {
    case ALL_REDUCE:
        for (size_t i = 0; i < numbers; i++) {
            double sum = 0;
            for (int rank = 0; rank < group->world; rank++) sum += get(of[rank]->send, of[0]->type, i);
            for (int rank = 0; rank < group->world; rank++) put(of[rank]->receive, of[0]->type, i, sum);
        }
        break;
    case ALL_GATHER:
        for (int to = 0; to < group->world; to++)
            for (int from = 0; from < group->world; from++)
                memcpy(of[to]->receive + (size_t)from * bytes, of[from]->send, bytes);
        break;
    case BROADCAST:
        for (int to = 0; to < group->world; to++) memmove(of[to]->receive, of[of[0]->root]->send, bytes);
        break;
    }
    group->done++;
}

/* What is wrong with how a communicator is used; `lock` is held. */
static void look(struct comm *comm) {
    if (comm->dead) count("used after its end", comm->rank);
    if (current != 0) count("wrong GPU", comm->rank);
}

static unsigned begin(const char *function, struct comm *comm, struct stream *stream, struct call call) {
    pthread_mutex_lock(&lock);
    struct group *group = comm->group;
    unsigned status = enter(function, comm->rank);
    look(comm);
    if (!stream->ordered) count("before libtorch", comm->rank);
    if (comm->unsettled > 0) count("before the call before", comm->rank);
    stream->ordered = 0;
    if (status == OK) {
        stream->comm = comm;
        stream->call = group->begun[comm->rank]++;
        group->calls[comm->rank][stream->call % CALLS] = call;
        comm->unsettled = settle;
        int all = !stall && !group->broken;
        for (int rank = 0; rank < group->world; rank++) all = all && group->begun[rank] > group->done;
        if (all) take_place(group);
        if (settle) status = IN_PROGRESS;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

/* NCCL. */

unsigned ncclGetVersion(int *version) { *version = VERSION; return OK; }
const char *ncclGetLastError(struct comm *comm) { (void)comm; return last_error; }

const char *ncclGetErrorString(unsigned status) {
    static const char *const words[] = {"no error", "unhandled cuda error", "unhandled system error", "internal error",
        "invalid argument", "invalid usage", "remote process exited or there was a network error", "in progress"};
    return status < 8 ? words[status] : "unknown result code";
}

unsigned ncclGetUniqueId(struct id *id) {
    pthread_mutex_lock(&lock);
    unsigned status = enter("ncclGetUniqueId", -1);
    memset(id, 0, sizeof *id);
    id->bytes[0] = (char)count("ids", -1);
    id->bytes[127] = -1;
    pthread_mutex_unlock(&lock);
    return status;
}

unsigned ncclCommInitRankConfig(struct comm **comm, int world, struct id id, int rank, struct config *config) {
    if (config->magic != 0xcafebeef || config->size != 80 || config->blocking || world > RANKS) return INVALID_ARGUMENT;
    pthread_mutex_lock(&lock);
    unsigned status = enter("ncclCommInitRankConfig", rank);
    if (status == OK) {
        struct group *group = groups;
        while (group && memcmp(&group->id, &id, sizeof id)) group = group->next;
        if (!group) {
            group = calloc(1, sizeof *group);
            group->id = id;
            group->world = world;
            group->next = groups;
            groups = group;
        }
        group->joined++;
        *comm = calloc(1, sizeof **comm);
        (*comm)->group = group;
        (*comm)->rank = rank;
        look(*comm);
        status = IN_PROGRESS;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

unsigned ncclCommGetAsyncError(struct comm *comm, unsigned *state) {
    pthread_mutex_lock(&lock);
    unsigned status = enter("ncclCommGetAsyncError", comm->rank);
    look(comm);
    while (hold) pthread_cond_wait(&over, &lock);
    struct group *group = comm->group;
    *state = OK;
    if (group->joined < group->world || (comm->parting && group->parting < group->world)) *state = IN_PROGRESS;
    if (comm->unsettled > 0) {
        comm->unsettled--;
        *state = IN_PROGRESS;
    }
    if (asynchronous[comm->rank].status && --asynchronous[comm->rank].after < 0)
        *state = asynchronous[comm->rank].status;
    pthread_mutex_unlock(&lock);
    return status;
}

unsigned ncclCommFinalize(struct comm *comm) {
    pthread_mutex_lock(&lock);
    unsigned status = enter("ncclCommFinalize", comm->rank);
    look(comm);
    comm->parting = 1;
    comm->group->parting++;
    pthread_mutex_unlock(&lock);
    return status == OK ? IN_PROGRESS : status;
}

static unsigned finish(const char *function, struct comm *comm, int aborted) {
    pthread_mutex_lock(&lock);
    unsigned status = enter(function, comm->rank);
    look(comm);
    comm->dead = 1;
    if (aborted && comm->parting) comm->group->parting--;
    /* Its memory is used for something else from now on. */
    if (aborted) comm->group->broken = 1;
    pthread_mutex_unlock(&lock);
    return status;
}

unsigned ncclCommDestroy(struct comm *comm) { return finish("ncclCommDestroy", comm, 0); }
#ifndef WITHOUT_ABORT
unsigned ncclCommAbort(struct comm *comm) { return finish("ncclCommAbort", comm, 1); }
#endif

unsigned ncclAllReduce(const void *send, void *receive, size_t numbers, int type, int op, struct comm *comm,
                       struct stream *stream) {
    if (op != 0) return INVALID_ARGUMENT;
    return begin("ncclAllReduce", comm, stream, (struct call){ALL_REDUCE, send, receive, numbers, type, 0});
}

unsigned ncclAllGather(const void *send, void *receive, size_t numbers, int type, struct comm *comm,
                       struct stream *stream) {
    return begin("ncclAllGather", comm, stream, (struct call){ALL_GATHER, send, receive, numbers, type, 0});
}

unsigned ncclBroadcast(const void *send, void *receive, size_t numbers, int type, int root, struct comm *comm,
                       struct stream *stream) {
    return begin("ncclBroadcast", comm, stream, (struct call){BROADCAST, send, receive, numbers, type, root});
}

/* CUDA's runtime and libtorch. */

static int counted(const char *function) {
    pthread_mutex_lock(&lock);
    if (current < 0) current = (int)gpu;
    int status = (int)enter(function, -1);
    pthread_mutex_unlock(&lock);
    return status;
}

int aoti_torch_get_current_cuda_stream(int32_t device, struct stream **stream) {
    *stream = &torch;
    return device ? 1 : counted("aoti_torch_get_current_cuda_stream");
}

int cudaGetDevice(int *device) {
    int status = counted("cudaGetDevice");
    *device = current;
    return status;
}

int cudaSetDevice(int device) {
    current = device;
    return OK;
}

int cudaStreamCreateWithFlags(struct stream **stream, unsigned flags) {
    *stream = calloc(1, sizeof **stream);
    return flags == 1 ? counted("cudaStreamCreateWithFlags") : 1;
}

int cudaStreamDestroy(struct stream *stream) {
    (void)stream;
    return counted("cudaStreamDestroy");
}

int cudaEventCreateWithFlags(struct event **event, unsigned flags) {
    *event = calloc(1, sizeof **event);
    return flags == 2 ? counted("cudaEventCreateWithFlags") : 1;
}

int cudaEventRecord(struct event *event, struct stream *stream) {
    int status = counted("cudaEventRecord");
    pthread_mutex_lock(&lock);
    event->of = stream;
    event->comm = stream->comm;
    event->call = stream->call;
    event->looks = lag;
    pthread_mutex_unlock(&lock);
    return status;
}

int cudaStreamWaitEvent(struct stream *stream, struct event *event, unsigned flags) {
    if (flags) return 1;
    pthread_mutex_lock(&lock);
    if (event->of == &torch) stream->ordered = 1;
    if (stream == &torch) count("libtorch waits", -1);
    pthread_mutex_unlock(&lock);
    return counted("cudaStreamWaitEvent");
}

int cudaEventQuery(struct event *event) {
    int status = counted("cudaEventQuery");
    pthread_mutex_lock(&lock);
    struct comm *comm = event->comm;
    if (status == OK && comm && !comm->dead && (comm->group->done <= event->call || event->looks-- > 0)) status = NOT_READY;
    pthread_mutex_unlock(&lock);
    if (status) sticky = status;
    return status;
}

int cudaEventDestroy(struct event *event) {
    free(event);
    return counted("cudaEventDestroy");
}

int cudaGetLastError(void) {
    int status = sticky;
    sticky = OK;
    return status;
}

const char *cudaGetErrorString(int status) { return status == 700 ? "an illegal memory access was encountered" : "unknown error"; }
