/* SPDX-License-Identifier: Apache-2.0 */
/* --stream: an image that goes through standard output and standard input. */
#include "core/cli/flags.h"
#include "core/image/image.h"
#include "core/util/util.h"
#include "core/util/worker.h"
#include <fcntl.h>

static int check_dump(const struct args *a, struct crcore_error *err)
{
	if (a->images_dir)
		return crcore_fail(err, -EINVAL, "an image goes to a folder (-D) or to standard output "
		                   "(--stream), not to both");
	if (a->command.prev_images_dir) {
		crcore_advise(err, "dump to a folder, or all of it without --prev-images-dir");
		return crcore_fail(err, -EINVAL, "a stream is a whole image, and not made on another");
	}
	if (a->command.json)
		return crcore_fail(err, -EINVAL, "--json would write to standard output, as --stream does");
	if (fcntl(STDOUT_FILENO, F_GETFD) < 0)
		return crcore_fail(err, -EBADF, "standard output is closed");
	if (isatty(STDOUT_FILENO)) {
		crcore_advise(err, "send it somewhere: crcore dump --stream ... | ssh other cat '>' "
		              "image.tar");
		return crcore_fail(err, -EINVAL, "standard output is a terminal, which is no place for an "
		                   "image");
	}
	return 0;
}

static int check_restore(const struct args *a, struct crcore_error *err)
{
	if (!a->images_dir) {
		crcore_advise(err, "name a folder with -D: it is made, and removed afterwards");
		return crcore_fail(err, -EINVAL, "what comes in must be put somewhere");
	}
	if (fcntl(STDIN_FILENO, F_GETFD) < 0)
		return crcore_fail(err, -EBADF, "standard input is closed");
	if (isatty(STDIN_FILENO)) {
		crcore_advise(err, "e.g. ssh other cat image.tar | crcore restore --stream -D DIR");
		return crcore_fail(err, -EINVAL, "standard input is a terminal, where no image comes from");
	}
	return 0;
}

int stream_check(const struct args *a, struct crcore_error *err)
{
	if (a->command.keep_images && !a->command.stream)
		return crcore_fail(err, -EINVAL, "--keep-images is about what --stream receives");
	if (!a->command.stream)
		return 0;
	return a->verb->bit == V_DUMP ? check_dump(a, err) : check_restore(a, err);
}

static int receive(struct worker *w, void *arg, struct crcore_error *err)
{
	const struct command *c = arg;
	bool made = false;
	int r = image_receive(STDIN_FILENO, c->images_dir, worker_check, &made, err);

	return r < 0 ? r : made;
}

/* Of what a killed worker has put there. Whoever makes an image clears the folder of an unfinished
 * one, and of its own if that is not finished either. */
static void remove_unfinished(const char *dir, bool was_there)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	struct image *image;

	if (image_create(dir, false, &image, &ignored) == 0)
		image_close(image);
	if (!was_there)
		rmdir(dir);
}

int stream_receive(struct command *c, struct crcore_error *err)
{
	const bool was_there = access(c->images_dir, F_OK) == 0;
	int r = worker_run(receive, NULL, c, "what came in is no image", err);

	if (r == -EOWNERDEAD)
		remove_unfinished(c->images_dir, was_there);
	return r < 0 || c->keep_images ? r : image_place_open(c->images_dir, r, &c->received, err);
}

void received_end(struct command *c, bool restored, struct crcore_error *err)
{
	struct crcore_error ignored = CRCORE_ERROR_INIT;
	const size_t n = strlen(err->advice);
	struct image *image;

	if (!c->received || restored || image_open(c->images_dir, true, &image, &ignored) < 0) {
		image_place_remove(c->received);
		return;
	}
	image_close(image);
	snprintf(err->advice + n, sizeof(err->advice) - n,
	         "%sthe image that came in is whole and stays: crcore restore -D %s", n ? "; " : "",
	         c->images_dir);
}
