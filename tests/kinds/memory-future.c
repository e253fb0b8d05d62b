/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for memory that a process maps later: it is locked (mlockall(2)), at once or when it
 * is touched; it may not be both writable and executable (PR_SET_MDWE), for children or not. */
#include "kind.h"
#include <pthread.h>
#include <sys/mman.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

enum { SIZE = 4096, REFUSE_EXEC_GAIN = 1, NO_INHERIT = 2 };

static volatile int *step;

static char *map(int prot)
{
	return mmap(NULL, SIZE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static int locked(void *arg)
{
	const int flags = (int)(long)arg;
	unsigned char resident = 0;
	char *before, *after;

	CHECK((before = map(PROT_READ)) != MAP_FAILED);
	CHECK(!mlockall(flags));
	__atomic_add_fetch(step, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK(!msync(before, SIZE, MS_INVALIDATE));
	CHECK((after = map(PROT_READ)) != MAP_FAILED);
	CHECK(msync(after, SIZE, MS_INVALIDATE) && errno == EBUSY); /* locked */
	CHECK(!mincore(after, SIZE, &resident));
	CHECK_EQ(resident & 1, !(flags & MCL_ONFAULT));
	return 0;
}

static void *no_writable_code(void *arg)
{
	__atomic_add_fetch(step, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK(map(PROT_READ | PROT_WRITE | PROT_EXEC) == MAP_FAILED && errno == EACCES);
	return NULL;
}

static int inherits(void *arg)
{
	return prctl(PR_GET_MDWE, 0, 0, 0, 0) != REFUSE_EXEC_GAIN;
}

static int inherits_not(void *arg)
{
	return prctl(PR_GET_MDWE, 0, 0, 0, 0) != 0;
}

static int strict(void *arg)
{
	const long flags = (long)arg;
	char *code = map(PROT_READ | PROT_WRITE | PROT_EXEC), *data = map(PROT_READ | PROT_WRITE);
	pthread_t thread;

	CHECK(code != MAP_FAILED && data != MAP_FAILED);
	CHECK(!prctl(PR_SET_MDWE, flags, 0, 0, 0));
	CHECK(!pthread_create(&thread, NULL, no_writable_code, NULL));
	*code = *data = 1;
	__atomic_add_fetch(step, 1, __ATOMIC_SEQ_CST);
	kind_wait();
	CHECK_EQ(prctl(PR_GET_MDWE, 0, 0, 0, 0), flags);
	CHECK_EQ(++*code, 2);
	CHECK_EQ(++*data, 2);
	CHECK(mprotect(data, SIZE, PROT_READ | PROT_EXEC) && errno == EACCES);
	CHECK(!pthread_join(thread, NULL));
	kind_join(kind_fork(flags & NO_INHERIT ? inherits_not : inherits, NULL));
	return 0;
}

int main(int argc, char **argv)
{
	const bool mdwe = prctl(PR_GET_MDWE, 0, 0, 0, 0) >= 0; /* of Linux 6.3 */
	const int children = mdwe ? 4 : 2, threads = mdwe ? 2 : 0;
	pid_t child[4];

	kind_init(argc, argv);
	step = kind_shared(SIZE);
	child[0] = kind_fork(locked, (void *)(long)MCL_FUTURE);
	child[1] = kind_fork(locked, (void *)(long)(MCL_FUTURE | MCL_ONFAULT));
	if (mdwe) {
		child[2] = kind_fork(strict, (void *)(long)REFUSE_EXEC_GAIN);
		child[3] = kind_fork(strict, (void *)(long)(REFUSE_EXEC_GAIN | NO_INHERIT));
	}
	kind_until(step, children + threads);
	kind_ready();
	for (int i = 0; i < children; i++)
		kind_join(child[i]);
	CHECK_EQ(mdwe ? prctl(PR_GET_MDWE, 0, 0, 0, 0) : 0, 0);
	CHECK(map(PROT_READ | PROT_WRITE | PROT_EXEC) != MAP_FAILED);
	kind_pass();
}
