package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/logfile"
	"github.com/tenon-ml/tenon/planner/state"
)

// Labels of the containers.
const (
	labelUnit = "tenon.dev/unit"
	labelName = "tenon.dev/name"
	labelDir  = "tenon.dev/dir"  // the run's folder
	labelUsed = "tenon.dev/used" // when an image was last used, within an hour
)

// start starts the task. Its folder is locked and it has no container yet.
func (e *Executor) start(ctx context.Context, c *client.Client, t executors.Task, address *local.Address) (_ state.Handle, err error) {
	if err := taskStates.Forget(t.Dir); err != nil {
		return state.Handle{}, err
	}
	if _, err := os.Stat(e.opts.Runner); err != nil {
		return state.Handle{}, fmt.Errorf("tenon-run, the init of containers, is not next to tenon: run `make build` to build both: %w", err)
	}
	ts := e.taskState(t)
	if t.Image == "" {
		return state.Handle{}, errors.New("the plan has no image for it: plan again")
	}
	doc, mounts := inside(t)
	if err := local.WriteDocument(t, doc); err != nil {
		return state.Handle{}, err
	}
	if err := os.WriteFile(hostsPath(t.Dir), []byte(hosts), 0o644); err != nil {
		return state.Handle{}, err
	}
	if err := handOver(t); err != nil {
		return state.Handle{}, err
	}
	img, config, err := e.image(ctx, c, t)
	if err != nil {
		return state.Handle{}, err
	}
	ts.Image = img.digest
	if err := ctx.Err(); err != nil {
		return state.Handle{}, err
	}
	// From here on the container is completed or removed.
	ctx = context.WithoutCancel(ctx)
	defer func() {
		if err != nil && shimHangs(err) {
			err = errors.Join(err, e.killShim(ts.ID))
		}
		if err != nil && !away(err) && !shimDied(err) {
			err = errors.Join(err, taskStates.Forget(t.Dir), e.remove(ctx, c, ts.ID, 0))
		}
	}()
	if err := e.writeSecrets(t); err != nil {
		return state.Handle{}, err
	}
	pid, err := e.ready(ctx, c, ts, img, e.specification(t, doc, mounts, config.Config.Env, address.SocketArgs()))
	if err != nil {
		return state.Handle{}, err
	}
	// Before the task state: from then on, another tenon may start the program.
	id, err := local.Identify(pid)
	if err != nil {
		return state.Handle{}, err
	}
	if err := address.Claim(id, true); err != nil {
		return state.Handle{}, err
	}
	ts.Began = time.Now().UTC()
	if err := taskStates.Save(ts); err != nil {
		return state.Handle{}, err
	}
	if err := startProgram(ctx, c, ts.ID); err != nil {
		return state.Handle{}, err
	}
	return taskStates.Handle(ts)
}

// settle retries a start while containerd still creates or removes the container of a
// killed apply. Nothing reports when containerd is done, and until then any step may
// fail. If somebody removed the image, settle forgets it and makes it again. The time it
// takes to notice that a shim hangs does not count.
func (e *Executor) settle(ctx context.Context, start func() (state.Handle, error)) (state.Handle, error) {
	patience := min(local.KillPatience, e.opts.Patience)
	until, contested, hung := time.Now().Add(patience), false, 0
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		h, err := start()
		contested = contested || underway(err)
		if shimHangs(err) && hung < maxHungShims {
			contested, hung, until = true, hung+1, time.Now().Add(patience)
		}
		if err == nil || !contested || !errors.Is(err, errUnmade) && !errors.Is(err, errImageGone) {
			return h, err
		}
		if time.Now().After(until) {
			return h, fmt.Errorf("%w: containerd has not cleaned up an earlier start; the next attempt uses another name", err)
		}
		select {
		case <-ctx.Done():
			return h, errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// maxHungShims is how many shims settle replaces before it gives up.
const maxHungShims = 2

// underway reports whether a start failed because another start of the same container
// is in progress. For the folder of a shim, only the text of the error says so.
func underway(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	return errors.Is(err, errImageGone) || errdefs.IsAlreadyExists(err) || strings.Contains(text, unix.EEXIST.Error()) ||
		strings.Contains(text, "start shim") && strings.Contains(text, unix.ENOENT.Error())
}

// handOver makes the program the owner of what it writes to. Another version of a service may
// write to the folder that is kept at the same time.
func handOver(t executors.Task) error {
	dir := t.Dir
	log := filepath.Join(dir, "log")
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Mkdir(logfile.Folder(log), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	uid, gid := owner()
	if err := os.Lchown(log, uid, gid); err != nil {
		return err
	}
	outlive := []string{t.Kept}
	if t.Checkpoints != nil {
		outlive = append(outlive, t.Checkpoints.Path)
	}
	for _, folder := range outlive {
		if folder == "" {
			continue
		}
		if err := own(filepath.Dir(folder), uid, gid, filepath.Base(folder)); err != nil {
			return err
		}
	}
	return own(dir, uid, gid, "out", "scratch", "notes", filepath.Base(logfile.Folder(log)))
}

// reclaim makes tenon the owner of what the program wrote.
func reclaim(dir string) error { return own(dir, os.Getuid(), os.Getgid(), "out", "notes") }

// own changes the owner of folders below dir and of everything in them. Only root needs
// that: otherwise programs run as tenon's own user.
func own(dir string, uid, gid int, folders ...string) error {
	if os.Getuid() != 0 {
		return nil
	}
	for _, sub := range folders {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				err = os.Lchown(path, uid, gid)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil // the engine may have moved it to the artifacts
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeSecrets writes the secrets to memory, where the first process of the container
// reads them. They stay until the container is removed, because another tenon that
// takes over may have to start it. The program cannot write there: it could fill the
// memory of the machine.
func (e *Executor) writeSecrets(t executors.Task) error {
	if len(t.Env) == 0 {
		return nil
	}
	if e.memory() == "" {
		return errors.New("secrets need a file system in memory (tmpfs), but neither /run nor /dev/shm is one")
	}
	dir := e.secretsDir(containerID(t))
	if err := ownFolder(filepath.Join(e.memory(), "tenon-"+fmt.Sprint(os.Getuid()))); err != nil {
		return fmt.Errorf("keep secrets: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	vars := map[string]string{}
	uid, gid := owner()
	put := func(name string, b []byte) error {
		file := filepath.Join(dir, name)
		return errors.Join(os.WriteFile(file, b, 0o400), os.Chown(file, uid, gid))
	}
	for _, s := range t.Unit.Secrets {
		value, ok := t.Env[s.Name]
		if !ok {
			continue
		}
		vars[s.Name] = value
		if s.As == ir.AsFile {
			vars[s.Name] = path.Join(secretsDir, s.Name)
			if err := put(s.Name, []byte(value)); err != nil {
				return err
			}
		}
	}
	b, err := json.Marshal(vars)
	if err != nil {
		return err
	}
	return errors.Join(put(variables, b), os.Chown(dir, uid, gid))
}

// ownFolder creates a folder that only this user can access. Everybody may write to
// /dev/shm, so an existing folder may belong to somebody else.
func ownFolder(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o077 != 0 || int(st.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a private folder of this user: remove it", dir)
	}
	return nil
}

// secretsDir returns the folder of a container's secrets.
func (e *Executor) secretsDir(id string) string {
	return filepath.Join(e.memory(), "tenon-"+fmt.Sprint(os.Getuid()), e.opts.Namespace, id)
}

// memory returns a folder that is in memory and on no disk, or "".
func (e *Executor) memory() string {
	const tmpfs = 0x01021994
	for _, dir := range []string{"/run", "/dev/shm"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == tmpfs && unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	return ""
}
