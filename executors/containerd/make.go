package containerd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
)

// errImageGone means that the snapshot of a loaded image is missing: somebody removed
// it.
var errImageGone = errors.New("the image is no longer in containerd")

// errUnmade means that there is no container, so that nothing can have run.
var errUnmade = errors.New("make the container")

// ready creates the container and its task, and returns the pid of its first process. It
// sends no call that it can avoid: the client's own functions would read again what is
// known here.
func (e *Executor) ready(ctx context.Context, c *client.Client, ts taskState, img *loaded, spec oci.SpecOpts) (pid int, err error) {
	labels := map[string]string{labelUnit: ts.Unit, labelName: ts.Name, labelDir: ts.Dir}
	container := containers.Container{
		ID: ts.ID, Labels: labels, Image: img.name, Runtime: containers.RuntimeInfo{Name: plugins.RuntimeRuncV2},
		Snapshotter: e.opts.Snapshotter, SnapshotKey: ts.ID,
	}
	s, err := oci.GenerateSpec(ctx, c, &container, spec)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errUnmade, err)
	}
	if container.Spec, err = typeurl.MarshalAny(s); err != nil {
		return 0, fmt.Errorf("%w: %w", errUnmade, err)
	}
	// Like a lease, the label keeps containerd from collecting the snapshot before it
	// has a container, but saves two calls.
	root, err := c.SnapshotService(e.opts.Snapshotter).Prepare(ctx, ts.ID, img.top, snapshots.WithLabels(map[string]string{
		"containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339), labelName: ts.Name, labelDir: ts.Dir,
	}))
	if errdefs.IsNotFound(err) {
		e.forgetImage(img)
		return 0, fmt.Errorf("%w: %w", errImageGone, err)
	}
	if err != nil {
		return 0, fmt.Errorf("%w: root file system: %w", errUnmade, err)
	}
	if _, err := c.ContainerService().Create(ctx, container); err != nil {
		return 0, fmt.Errorf("%w: %w", errUnmade, err)
	}
	made, err := c.TaskService().Create(ctx, &tasks.CreateTaskRequest{ContainerID: ts.ID, Rootfs: mount.ToProto(root)})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errUnmade, errgrpc.ToNative(err))
	}
	return int(made.Pid), nil
}

// startProgram starts the program of a created container.
func startProgram(ctx context.Context, c *client.Client, id string) error {
	if _, err := c.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: id}); err != nil {
		return fmt.Errorf("start the container: %w", errgrpc.ToNative(err))
	}
	return nil
}
