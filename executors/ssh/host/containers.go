package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A runner runs tasks on this host: as processes, or in containers.
type runner interface {
	executors.Executor
	executors.Waiter
	executors.Logger
	executors.Host
	executors.VersionRunner
}

// DefaultContainerd is where containerd listens on most machines.
const DefaultContainerd = "/run/containerd/containerd.sock"

// newContainers returns what runs tasks with images. Their programs and environments are in the
// images, which come from the sender.
func (s *server) newContainers(o Options) *containerd.Executor {
	inImage := func(context.Context) (string, error) { return "", nil }
	return containerd.New(containerd.Options{
		Place: containerd.Place{Address: s.containerd}, Programs: executors.Programs{Duck: inImage, Serve: inImage},
		Build:  func(ctx context.Context, _ image.Recipe) (v1.Image, error) { return s.imageOf(startIn(ctx).Image) },
		Runner: s.program(o.Runner), Env: o.Env, Grace: o.Grace, CDI: s.cdi,
	})
}

// runnerOf returns what runs, or has run, the program of a record.
func (s *server) runnerOf(rec *record) runner {
	if rec != nil && rec.Image != "" {
		return s.containers
	}
	return s.process
}

// containerless says why this host cannot run containers, or returns "".
func (s *server) containerless(ctx context.Context) string {
	const patience = 5 * time.Second
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "unix", s.containerd)
	switch {
	case err == nil:
		_ = conn.Close()
		return ""
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("it has no containerd at %s, which runs images: install containerd and runc there, such as with `apt-get install containerd`, or name its socket as containerd of the host", s.containerd)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("the user may not use containerd at %s, which runs images: let root run the programs, or give the user access to the socket", s.containerd)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Sprintf("its containerd at %s does not run: start it, such as with `systemctl start containerd`", s.containerd)
	}
	return fmt.Sprintf("its containerd at %s cannot be reached: %v", s.containerd, err)
}

// liveContainers calls f for each task that runs in a container. While containerd does not answer,
// each that may run does.
func (s *server) liveContainers(ctx context.Context, f func(record)) {
	entries, _ := os.ReadDir(filepath.Join(s.dir, "runs")) // it was made
	for _, e := range entries {
		var rec record
		if readRecord(s.run(e.Name()), &rec) != nil || rec.Image == "" {
			continue
		}
		h, err := s.containers.Find(ctx, rec.Name, s.run(rec.Run))
		if err == nil && h == nil {
			continue
		}
		runs := true
		if err == nil {
			runs, err = s.containers.Runs(ctx, *h)
		}
		if runs || err != nil {
			f(rec)
		}
	}
}

// imageFor reports whether the image of a start is in containerd.
func (s *server) imageFor(ctx context.Context, in *Image) (bool, error) {
	img, err := s.imageOf(in)
	if err != nil {
		return false, err
	}
	_, loaded, err := s.containers.Lacks(ctx, img)
	return loaded, err
}

// load gives an image to containerd, or names the layers that have to be sent first.
func (s *server) load(ctx context.Context, in Image) (Loaded, error) {
	img, err := s.imageOf(&in)
	if err != nil {
		return Loaded{}, err
	}
	layers, loaded, err := s.containers.Lacks(ctx, img)
	if err != nil || loaded {
		return Loaded{}, err
	}
	out := Loaded{Missing: s.unsent(layers)}
	if len(out.Missing) > 0 {
		return out, nil
	}
	t := executors.Task{Unit: ir.Unit{Code: ir.Code{Runtime: ir.Command}}, Image: in.Base}
	ctx = context.WithValue(ctx, startKey{}, Start{Image: &in})
	if err := s.containers.Prepare(ctx, t, func(step.Progress) {}); err != nil {
		// Another Tenon may have removed an image meanwhile, with a layer that containerd had.
		if lacks, _, failed := s.containers.Lacks(ctx, img); failed == nil {
			out.Missing = s.unsent(lacks)
		}
		if len(out.Missing) > 0 {
			return out, nil
		}
		return out, err
	}
	for _, l := range layers { // containerd has a copy
		if err := os.Remove(s.blobPath(l.Digest.String())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
	}
	return out, nil
}

// unsent returns the digests of the layers that were not sent.
func (s *server) unsent(layers []v1.Descriptor) (digests []string) {
	for _, l := range layers {
		if _, err := os.Stat(s.blobPath(l.Digest.String())); err != nil {
			digests = append(digests, l.Digest.String())
		}
	}
	return digests
}

func (s *server) blobPath(digest string) string {
	hex, _ := artifact.Hex(digest) // it was parsed
	return filepath.Join(s.dir, "blobs", hex)
}

func (s *server) putBlob(w http.ResponseWriter, r *http.Request) {
	digest := r.PathValue("digest")
	s.put(w, digest, func(tmp string) error {
		err := receiveFile(r.Body, tmp, 0o600, -1)
		if err == nil {
			err = os.MkdirAll(filepath.Join(s.dir, "blobs"), 0o700)
		}
		if err != nil {
			return err
		}
		got, err := artifact.File(r.Context(), tmp)
		if err == nil && got != digest {
			err = &artifact.DamagedError{Digest: digest, Path: "what arrived", Got: got}
		}
		if err != nil {
			return err
		}
		return os.Rename(tmp, s.blobPath(digest))
	})
}

// removeOldBlobs removes layers of which the rest of the image never came.
func (s *server) removeOldBlobs() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, "blobs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if info, gone := e.Info(); gone == nil && time.Since(info.ModTime()) > halfWrittenAge {
			err = errors.Join(err, files.RemoveAll(filepath.Join(s.dir, "blobs", e.Name())))
		}
	}
	return err
}

// imageOf returns an image that was described, whose layers are where [server.putBlob] stores them.
func (s *server) imageOf(in *Image) (v1.Image, error) {
	if in == nil {
		return nil, errors.New("the request has no image for a container")
	}
	return partial.CompressedToImage(&sentImage{s, *in})
}

// A sentImage implements [partial.CompressedImageCore].
type sentImage struct {
	s *server
	Image
}

func (i *sentImage) RawManifest() ([]byte, error)   { return i.Manifest, nil }
func (i *sentImage) RawConfigFile() ([]byte, error) { return i.Config, nil }

func (i *sentImage) MediaType() (types.MediaType, error) { return types.MediaType(i.Type), nil }

func (i *sentImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	m, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	if h == m.Config.Digest {
		return partial.ConfigLayer(i)
	}
	for _, d := range m.Layers {
		if d.Digest == h {
			return &sentLayer{d, i.s.blobPath(h.String())}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

// A sentLayer implements [partial.CompressedLayer].
type sentLayer struct {
	d    v1.Descriptor
	path string
}

func (l *sentLayer) Digest() (v1.Hash, error)            { return l.d.Digest, nil }
func (l *sentLayer) Size() (int64, error)                { return l.d.Size, nil }
func (l *sentLayer) MediaType() (types.MediaType, error) { return l.d.MediaType, nil }
func (l *sentLayer) Compressed() (io.ReadCloser, error)  { return os.Open(l.path) }
func (l *sentLayer) Descriptor() (*v1.Descriptor, error) { return &l.d, nil }
