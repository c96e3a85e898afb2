package gcptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// A container is mounts that no other process sees, and processes that end with the first. Its image may have
// neither chroot nor a shell: those are of the machine.
const mounts = `set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs tmpfs "$ROOT/tmp"
mount --bind "$WORK" "$ROOT/tenon/work"
exec "$@"
`

var errNoImage = errors.New("no such image")

// pull returns the folder with the file system of an image, whatever registry it names, and its configuration.
func (s *server) pull(ctx context.Context, image string) (root string, c *v1.ConfigFile, err error) {
	s.pulling.Lock()
	defer s.pulling.Unlock()
	_, path, _ := strings.Cut(image, "/")
	ref, err := name.NewDigest(s.registry+"/"+path, name.Insecure)
	if err != nil {
		return "", nil, err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx))
	if gone := (*transport.Error)(nil); errors.As(err, &gone) && gone.StatusCode == http.StatusNotFound {
		return "", nil, errNoImage
	}
	if err != nil {
		return "", nil, err
	}
	if c, err = img.ConfigFile(); err != nil {
		return "", nil, err
	}
	root = filepath.Join(s.dir, "images", strings.ReplaceAll(ref.DigestStr(), ":", "-"))
	if _, err := os.Stat(root); err == nil {
		return root, c, nil
	}
	made := root + ".new"
	if err := os.MkdirAll(made, 0o755); err != nil {
		return "", nil, err
	}
	files := mutate.Extract(img)
	unpack := exec.CommandContext(ctx, "tar", "-xf", "-", "-C", made)
	unpack.Stdin = files
	if out, err := unpack.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("unpack %s: %w\n%s", image, err, out)
	}
	err = files.Close()
	for _, dir := range []string{"proc", "dev", "tmp", "etc", "tenon/work"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(made, dir), 0o755))
	}
	return root, c, errors.Join(err, os.Rename(made, root))
}

// command returns the first process of a container, which has pid 1 in it.
func command(root, work string, argv, env []string, out io.Writer) *exec.Cmd {
	args := append([]string{"-c", mounts, "container", "env", "-i"}, env...)
	cmd := exec.Command("sh", append(append(args, "chroot", root), argv...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "ROOT=" + root, "WORK=" + work}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setsid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}
