/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dump as one of a chain: the image that it is made on (--prev-images-dir), and the
 * process that it leaves to track what is written to, for the next one (--track-mem).
 */
#include "core/dump/dump.h"
#include "core/memory/tracker.h"
#include "core/util/util.h"

static int open_image(const struct command *cmd, struct image **ret, struct crcore_error *err)
{
	const char *dir = cmd->prev_images_dir;
	cleanup_free char *path = NULL;

	if (dir[0] == '/' ? !(path = strdup(dir)) : asprintf(&path, "%s/%s", cmd->images_dir, dir) < 0)
		return crcore_no_memory(err);
	int r = image_open(path, false, ret, err);
	if (r == -ENOENT)
		crcore_advise(err, "name the folder of the image before; a relative name is seen from that "
		              "of -D");
	return r;
}

int previous_open(struct ahead *a, const struct command *cmd, bool lives, struct crcore_error *err)
{
	struct image *image = NULL;

	a->track = lives && policy_core(cmd->policy, "dump.track-memory")->b;
	int r = cmd->prev_images_dir ? open_image(cmd, &image, err) : 0;

	if (!image)
		return r;
	const Crcore__Manifest *m = image_manifest(image);
	if (m->root_pid != (uint32_t)cmd->pid) {
		r = crcore_fail(err, -EINVAL, "it is of the tree of pid %u, not of %d", m->root_pid,
		                cmd->pid);
		crcore_fail_at(err, -1, -1, "image %s", cmd->prev_images_dir);
		crcore_advise(err, "name an image of the same tree, or dump without --prev-images-dir");
	} else {
		r = since_open(image, &a->since, err);
		if (r == 0)
			r = image_may_have_child(image, err);
	}
	crcore__parent__init(&a->parent);
	a->parent.path = (char *)cmd->prev_images_dir;
	a->parent.checksum = m->checksum;
	if (r == 0)
		a->parent.pages = since_length(a->since);
	image_close(image);
	return r;
}

int seal_tracked(struct ahead *a, struct image *image, Crcore__Manifest *m,
                 struct crcore_error *err)
{
	Crcore__Tracking tracking = CRCORE__TRACKING__INIT;
	struct crcore_error why = CRCORE_ERROR_INIT;
	struct tracker *tracker = NULL;

	if (a->watch && a->track && watch_keep(a->watch, &tracking, &tracker, &why) < 0) {
		log_line(1, "nobody tracks what is written to: %s", why.message);
		tracker_free(STEAL(tracker));
	}
	if (ahead_continues(a))
		m->parent = &a->parent;
	m->tracking = tracker ? &tracking : NULL;
	int r = image_seal(image, m, err);
	if (r == 0 && tracker) {
		tracker_keep(tracker);
		a->kept = true;
	}
	tracker_free(tracker);
	tracker_forget(&tracking);
	return r;
}
