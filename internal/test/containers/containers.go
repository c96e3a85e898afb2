// Package containers runs containers for fakes of clouds: their images are fetched from a registry of the fake, and each
// runs in namespaces.
package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/tenon-ml/tenon/internal/files"
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

// ErrNoImage means that the registry does not have an image.
var ErrNoImage = errors.New("no such image")

// Images are file systems of images from a registry, below a folder.
type Images struct {
	Registry, Dir string // HOST:PORT, and the folder

	pulling sync.Mutex
}

// Pull returns the folder with the file system of an image, whatever registry it names, and its configuration.
func (s *Images) Pull(ctx context.Context, image string) (root string, c *v1.ConfigFile, err error) {
	s.pulling.Lock()
	defer s.pulling.Unlock()
	_, path, _ := strings.Cut(image, "/")
	ref, err := name.NewDigest(s.Registry+"/"+path, name.Insecure)
	if err != nil {
		return "", nil, err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx))
	if gone := (*transport.Error)(nil); errors.As(err, &gone) && gone.StatusCode == http.StatusNotFound {
		return "", nil, ErrNoImage
	}
	if err != nil {
		return "", nil, err
	}
	if c, err = img.ConfigFile(); err != nil {
		return "", nil, err
	}
	root = filepath.Join(s.Dir, "images", strings.ReplaceAll(ref.DigestStr(), ":", "-"))
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

// Command returns the first process of a container, which has pid 1 in it.
func Command(root, work string, argv, env []string, out io.Writer) *exec.Cmd {
	args := append([]string{"-c", mounts, "container", "env", "-i"}, env...)
	if spin := os.Getenv("GOMP_SPINCOUNT"); spin != "" { // this machine is busier than one of a cloud
		args = append(args, "GOMP_SPINCOUNT="+spin)
	}
	cmd := exec.Command("sh", append(append(args, "chroot", root), argv...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "ROOT=" + root, "WORK=" + work}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setsid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Lines takes output, and passes each line on.
type Lines struct {
	Line func(text string)

	mu   sync.Mutex
	rest []byte
}

// Write implements [io.Writer].
func (l *Lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.Line(string(line))
		l.rest = append([]byte(nil), rest...)
	}
}

// End passes on the last line if nothing ends it.
func (l *Lines) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) > 0 {
		l.Line(string(l.rest))
	}
}

// ServeRegistry returns the handler of a registry.
func ServeRegistry() http.Handler { return registry.New(registry.Logger(log.New(io.Discard, "", 0))) }

// Mirror makes a registry, as HOST:PORT, that of a host for readers of a folder with HOST/hosts.toml.
func Mirror(hosts, host, registry string) error {
	at := filepath.Join(hosts, host)
	text := fmt.Sprintf("server = %q\n[host.%[1]q]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n", "http://"+registry)
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	return files.Write(filepath.Join(at, "hosts.toml"), []byte(text), 0o600) // others read it meanwhile
}
