/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A word in shared memory that the kernel marks when the coordinator dies
 * (robust futexes, get_robust_list(2)). The kernel looks at 2,048 of them per
 * thread at most: lock only those of tasks that run a program right now.
 */
#include <pthread.h>
#include "core/task/inject.h"
#include "core/task/task.h"

#define WAITERS 0x80000000u /* FUTEX_WAITERS: tasks wait without telling libc */

int life_init(struct region *region, struct crcore_error *err)
{
	pthread_mutex_t *m = (void *)region->life;
	pthread_mutexattr_t attr;

	_Static_assert(sizeof(*m) <= sizeof(region->life), "life is too small");
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	int r = pthread_mutex_init(m, &attr);
	if (r == 0)
		r = pthread_mutex_lock(m);
	pthread_mutexattr_destroy(&attr);
	if (r)
		return crcore_fail(err, -r, "cannot make a robust mutex: %s", strerror(r));
	__atomic_or_fetch(&region->life[0], WAITERS, __ATOMIC_SEQ_CST);
	return 0;
}

void life_release(struct region *region)
{
	pthread_mutex_unlock((void *)region->life);
}
