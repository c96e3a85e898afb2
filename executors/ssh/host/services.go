package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// listenOn gives a service the address of this host at which the sender has reached it, which others
// reach too. It has no name then that has to be looked up here, and no address that only a router
// knows. A port for management stays where it is.
func (s *server) listenOn(t *executors.Task) error {
	if t.Unit.Endpoint == nil {
		return nil
	}
	if s.address == "" {
		return errors.New("sshd did not set SSH_CONNECTION, from which services get the address of the host")
	}
	at := *t.Unit.Endpoint
	at.Host = s.address
	t.Unit.Endpoint = &at
	return nil
}

// ownAddress is the address of this host in the connection of a session: "CLIENT PORT SERVER PORT".
func ownAddress(environ []string) string {
	for _, kv := range environ {
		if v, ok := strings.CutPrefix(kv, "SSH_CONNECTION="); ok {
			if fields := strings.Fields(v); len(fields) == 4 {
				return fields[2]
			}
		}
	}
	return ""
}

// former returns the handle of the service that a start takes over from, or nil.
func (s *server) former(ctx context.Context, in Start) (*state.Handle, error) {
	if in.Former == "" {
		return nil, nil
	}
	_, h, err := s.of(ctx, Named{Run: in.Former})
	return h, err
}

// continues reports whether there is something to return to: a job, or a service that has not died.
func (s *server) continues(ctx context.Context, t executors.Task, rec *record, h *state.Handle) (bool, error) {
	if h == nil || t.Unit.Kind != ir.Service && rec.Image == "" {
		return h != nil, nil
	}
	st, err := s.runnerOf(rec).Inspect(ctx, *h)
	if t.Unit.Kind != ir.Service {
		return st.Phase != state.Absent, err // a container that was made, and whose start was killed
	}
	return st.Phase == state.Running || st.Phase == state.Ready, err
}

func (s *server) setRoute(ctx context.Context, in Routed) (struct{}, error) {
	rec, h, err := s.of(ctx, in.Named)
	if err == nil && h == nil {
		err = errors.New("it was removed")
	}
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, s.runnerOf(rec).SetRoute(ctx, *h, in.Route)
}

func (s *server) observe(ctx context.Context, in Named) (*step.Observed, error) {
	rec, h, err := s.of(ctx, in)
	if err != nil || h == nil {
		return nil, err
	}
	return s.runnerOf(rec).Observe(ctx, *h)
}

// services lists the starts of a service that run, see [Serving].
func (s *server) services(ctx context.Context, in Service) (Serving, error) {
	out := Serving{Now: time.Now()}
	s.each(ctx, func(rec record) {
		if rec.Service == in && rec.Began.After(out.Began) {
			out.Began = rec.Began
		}
	})
	return out, nil
}

// each calls f for everything that runs.
func (s *server) each(ctx context.Context, f func(record)) {
	for _, r := range s.process.Running(filepath.Join(s.dir, "runs")) {
		dir, err := process.DirOf(r.Handle)
		var rec record
		if err != nil || readRecord(dir, &rec) != nil {
			continue // it was removed in the meantime
		}
		f(rec)
	}
	s.liveContainers(ctx, f)
}

// keptDir is the folder that all versions of a service have on this host.
func (s *server) keptDir(of Service) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", of.State, of.Environment, of.Unit))
	return filepath.Join(s.dir, "kept", hex.EncodeToString(sum[:16]))
}

// kept lists the complete files in a folder that a service keeps.
func (s *server) kept(_ context.Context, in Keeping) (Kept, error) {
	out := Kept{Now: time.Now()}
	dir, err := s.keptFolder(in)
	if err != nil {
		return out, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || strings.HasPrefix(e.Name(), files.HalfWritten) {
			continue // the service has removed it meanwhile, or still writes it
		}
		out.Files = append(out.Files, KeptFile{Name: e.Name(), Ended: info.ModTime()})
	}
	return out, nil
}

func (s *server) keptFolder(in Keeping) (string, error) {
	if !filepath.IsLocal(in.Folder) {
		return "", fmt.Errorf("%q is not the name of a folder", in.Folder)
	}
	return filepath.Join(s.keptDir(in.Service), in.Folder), nil
}

// getKept sends a file that a service keeps.
func (s *server) getKept(w http.ResponseWriter, r *http.Request) {
	var in Keeping
	if !read(w, r, &in) {
		return
	}
	dir, err := s.keptFolder(in)
	if err == nil && !filepath.IsLocal(in.Name) {
		err = fmt.Errorf("%q is not the name of a file", in.Name)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	path := filepath.Join(dir, in.Name)
	if _, err := os.Stat(path); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	if err := SendFile(r.Context(), w, path); err != nil {
		panic(http.ErrAbortHandler) // so that the caller does not take it for the whole
	}
}
