package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/tenon-ml/tenon/executors"
)

// Collect finds what all systems of the machine have left in containerd: images that no
// container uses and that were not used since then, and containers whose run folder was
// removed since then. Without a time it finds nothing.
//
// The size of an image includes layers that it shares with other images, which stay.
func (e *Executor) Collect(ctx context.Context, n executors.Needed, dry bool) (found []executors.Garbage, err error) {
	if n.Since.IsZero() {
		return nil, nil
	}
	ctx = e.in(ctx)
	err = e.patiently(ctx, func(c *client.Client) error {
		inUse, orphans, err := e.orphans(ctx, c, n.Since)
		if err != nil {
			return err
		}
		unused, err := e.unused(ctx, c, inUse, n.Since)
		if err != nil {
			return err
		}
		found = append(orphans, unused...)
		if dry {
			return nil
		}
		for _, g := range orphans {
			if err := e.remove(ctx, c, g.Name, e.opts.Grace); err != nil {
				return fmt.Errorf("remove container %s: %w", g.Name, err)
			}
		}
		for _, g := range unused {
			// Check as late as possible whether somebody uses it now. A task that
			// starts to use it at this very moment finds it gone and loads it again.
			img, err := c.ImageService().Get(ctx, g.Name)
			if err == nil && !usedSince(img, n.Since) {
				err = c.ImageService().Delete(ctx, g.Name, images.SynchronousDelete())
			}
			if err := ignoreMissing(err); err != nil {
				return fmt.Errorf("remove image %s: %w", g.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find garbage in containerd: %w", err)
	}
	return found, nil
}

// orphans returns the containers, and root file systems without a container, whose run
// folder is gone. It also returns which images have containers.
func (e *Executor) orphans(ctx context.Context, c *client.Client, since time.Time) (images map[string]bool, orphans []executors.Garbage, err error) {
	all, err := c.ContainerService().List(ctx)
	if err != nil {
		return nil, nil, err
	}
	images = map[string]bool{}
	dirs := map[string]string{}
	for _, x := range all {
		images[x.Image] = true
		if dir := x.Labels[labelDir]; dir != "" && x.CreatedAt.Before(since) {
			dirs[x.ID] = dir
		}
	}
	store := c.SnapshotService(e.opts.Snapshotter)
	err = store.Walk(ctx, func(_ context.Context, s snapshots.Info) error {
		if dir := s.Labels[labelDir]; dir != "" && s.Created.Before(since) {
			dirs[s.Name] = dir
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, id := range sortedKeys(dirs) {
		if _, err := os.Stat(dirs[id]); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		used, _ := store.Usage(ctx, id) // as far as it is known
		orphans = append(orphans, executors.Garbage{Kind: "container", Name: id, Size: used.Size})
	}
	return images, orphans, nil
}

// unused returns the images of tenon that nobody has used since then.
func (e *Executor) unused(ctx context.Context, c *client.Client, inUse map[string]bool, since time.Time) ([]executors.Garbage, error) {
	all, err := c.ImageService().List(ctx, fmt.Sprintf("labels.%q==image", labelName))
	if err != nil {
		return nil, err
	}
	var out []executors.Garbage
	for _, img := range all {
		if inUse[img.Name] || usedSince(img, since) {
			continue
		}
		size, _ := client.NewImage(c, img).Usage(ctx, client.WithSnapshotUsage()) // as far as it is known
		out = append(out, executors.Garbage{Kind: "image", Name: img.Name, Size: size})
	}
	return out, nil
}

func usedSince(img images.Image, since time.Time) bool {
	used, err := time.Parse(time.RFC3339, img.Labels[labelUsed])
	if err != nil {
		used = img.CreatedAt
	}
	return used.Add(usedEvery).After(since) // the label is updated no more often than that
}
