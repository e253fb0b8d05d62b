/* SPDX-License-Identifier: Apache-2.0 */
/* Alternate signal stacks of threads, in use and not, and SS_AUTODISARM. */
#include "kind.h"
#include <pthread.h>
#include <sys/mman.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

enum { SIZE = 64 * 1024 };

static char *main_stack, *thread_stack;
static volatile int inside;

static void set_stack(char **ret, int flags)
{
	stack_t ss = { .ss_size = SIZE, .ss_flags = flags };

	*ret = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(*ret != MAP_FAILED);
	ss.ss_sp = *ret;
	CHECK(!sigaltstack(&ss, NULL));
}

static void check_stack(const char *want, int flags)
{
	stack_t ss;

	CHECK(!sigaltstack(NULL, &ss));
	CHECK_EQ((uintptr_t)ss.ss_sp, (uintptr_t)want);
	CHECK_EQ(ss.ss_size, SIZE);
	CHECK_EQ((unsigned)ss.ss_flags, (unsigned)flags);
}

/* The thread waits in here, on its alternate stack. */
static void on_usr1(int sig)
{
	char here;

	CHECK(&here > thread_stack && &here < thread_stack + SIZE);
	inside = 1;
	kind_wait();
	check_stack(thread_stack, SS_ONSTACK);
}

static void on_usr2(int sig)
{
	char here;

	CHECK(&here > main_stack && &here < main_stack + SIZE);
	inside = 2;
}

static void *run(void *arg)
{
	set_stack(&thread_stack, 0);
	CHECK(!raise(SIGUSR1));
	check_stack(thread_stack, 0);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_flags = SA_ONSTACK };
	pthread_t thread;

	kind_init(argc, argv);
	set_stack(&main_stack, (int)SS_AUTODISARM);
	sa.sa_handler = on_usr1;
	CHECK(!sigaction(SIGUSR1, &sa, NULL));
	sa.sa_handler = on_usr2;
	CHECK(!sigaction(SIGUSR2, &sa, NULL));
	CHECK(!pthread_create(&thread, NULL, run, NULL));
	kind_until(&inside, 1);
	kind_ready();
	check_stack(main_stack, (int)SS_AUTODISARM);
	CHECK(!raise(SIGUSR2));
	CHECK_EQ(inside, 2);
	CHECK(!pthread_join(thread, NULL));
	kind_pass();
}
