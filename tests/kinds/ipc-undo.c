/* SPDX-License-Identifier: Apache-2.0 */
/* What processes will undo at their end (SEM_UNDO): sums of all sizes, of several processes and
 * threads, on one semaphore of many; who operated last, all the same. */
#include "kind.h"

#include <pthread.h>
#include <sys/sem.h>

enum { N = 150 };
union semun { int val; struct semid_ds *buf; unsigned short *array; };

static int set, mutex;
static volatile int *state;

static void operate(int id, unsigned short n, short by, short flags)
{
	struct sembuf op = { n, by, flags };

	CHECK(!semop(id, &op, 1));
}

static void *other_thread(void *arg)
{
	operate(set, 7, 3, SEM_UNDO);
	state[1] = 1;
	return NULL;
}

static int holder(void *arg)
{
	pthread_t t;

	operate(mutex, 0, -1, SEM_UNDO);
	CHECK(!pthread_create(&t, NULL, other_thread, NULL)); /* the list is that of the process */
	CHECK(!pthread_join(t, NULL));
	operate(set, 0, -20000, SEM_UNDO);
	operate(set, 0, -10000, SEM_UNDO);
	operate(set, 1, 32767, SEM_UNDO);
	operate(set, 1, -32767, 0);
	operate(set, 1, 1, SEM_UNDO);     /* the lowest sum there is: -32768 */
	operate(set, 2, -32767, SEM_UNDO); /* the highest */
	operate(set, N - 1, 1, SEM_UNDO);
	operate(set, 100, -5, SEM_UNDO);
	operate(set, 100, 5, SEM_UNDO);    /* nothing is left of it */
	state[0] = 1;
	kind_wait();
	return 0;
}

static int second(void *arg)
{
	operate(set, N - 1, 2, SEM_UNDO);
	operate(set, 3, 1, 0);
	state[2] = 1;
	kind_wait();
	return 0;
}

static int value(unsigned n)
{
	return semctl(set, (int)n, GETVAL);
}

int main(int argc, char **argv)
{
	unsigned short values[N];
	pid_t a, b;

	kind_init(argc, argv);
	state = kind_shared(4096);
	set = semget(IPC_PRIVATE, N, 0600);
	mutex = semget(IPC_PRIVATE, 1, 0600);
	CHECK(set >= 0 && mutex >= 0);
	for (int i = 0; i < N; i++)
		values[i] = (unsigned short)(i == 0 ? 30000 : i == 2 ? 32767 : 10 + i);
	values[1] = 0;
	CHECK(!semctl(set, 0, SETALL, (union semun){ .array = values }));
	CHECK(!semctl(mutex, 0, SETVAL, (union semun){ .val = 1 }));
	a = kind_fork(holder, NULL);
	kind_until(&state[0], 1);
	b = kind_fork(second, NULL);
	kind_until(&state[2], 1);
	operate(set, 7, 1, 0);
	CHECK(value(0) == 0 && value(1) == 1 && value(2) == 0 && value(7) == 21 && value(N - 1) == 162);
	CHECK_EQ(semctl(mutex, 0, GETVAL), 0);
	kind_announce();
	/* As long as they wait: who operated last. */
	CHECK_EQ(semctl(mutex, 0, GETPID), a);
	CHECK_EQ(semctl(set, 0, GETPID), a);
	CHECK_EQ(semctl(set, 7, GETPID), getpid());
	CHECK_EQ(semctl(set, N - 1, GETPID), b);
	kind_wait();
	kind_join(a);
	kind_join(b);
	CHECK_EQ(semctl(mutex, 0, GETVAL), 1);
	CHECK_EQ(value(0), 30000);
	CHECK_EQ(value(1), 0);
	CHECK_EQ(value(2), 32767);
	CHECK_EQ(value(7), 18);
	CHECK_EQ(value(N - 1), 159);
	CHECK_EQ(value(100), 110);
	CHECK_EQ(value(3), 14);
	CHECK(!semctl(set, 0, IPC_RMID) && !semctl(mutex, 0, IPC_RMID));
	kind_pass();
}
