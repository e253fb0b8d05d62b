/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that is inside a restartable sequence all the time: it is aborted, never
 * resumed in the middle. Each sequence moves 1 from one word of its own to another;
 * the abort handler must be reached whenever a sequence did not run to its end. */
#include "kind.h"
#include <linux/rseq.h>
#include <pthread.h>
#include <sys/rseq.h>

static volatile int stop, running;
static uint64_t commits, aborts;

/* Spins for a while within a sequence, then commits by one store. */
static bool attempt(struct rseq *rs, uint64_t *word, uint64_t value)
{
	int aborted = 0;

	__asm__ volatile(
		".pushsection __rseq_cs, \"aw\"\n.balign 32\n"
		"3: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
		"leaq 3b(%%rip), %%rax\n movq %%rax, %[cs]\n"
		"1: movl $20000, %%ecx\n"
		"5: decl %%ecx\n jnz 5b\n"
		"movq %[value], %[word]\n"
		"2: movq $0, %[cs]\n jmp 6f\n"
		".long 0x53053053\n"
		"4: movl $1, %[aborted]\n"
		"6:\n"
		: [cs] "=m"(rs->rseq_cs), [word] "=m"(*word), [aborted] "+m"(aborted)
		: [value] "r"(value)
		: "rax", "rcx", "memory", "cc");
	return !aborted;
}

static void *run(void *arg)
{
	struct rseq *rs = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	uint64_t word = 0;

	while (!stop) {
		uint64_t before = word;

		if (attempt(rs, &word, before + 1)) {
			CHECK_EQ(word, before + 1);
			commits++;
		} else {
			CHECK_EQ(word, before);
			aborts++;
		}
		running = 1;
	}
	CHECK_EQ(word, commits);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	kind_init(argc, argv);
	if (!__rseq_size)
		kind_skip("rseq is not registered here");
	CHECK(!pthread_create(&thread, NULL, run, NULL));
	kind_until(&running, 1);
	kind_ready();
	stop = 1;
	CHECK(!pthread_join(thread, NULL));
	kind_pass();
}
