package host

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/outputs"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A record is what host.json says about a run. It holds no secrets.
type record struct {
	UID  string `json:"uid"` // of this start, among all of the run
	Run  string `json:"run"`
	Name string `json:"name"`
	Unit
	Began   time.Time          `json:"began"`
	Outputs []string           `json:"outputs"` // ports
	Claim   ir.Resources       `json:"claim"`
	Devices []executors.Device `json:"devices,omitempty"`
	// Checkpoints is the folder of its checkpoints, or "".
	Checkpoints string `json:"checkpoints,omitempty"`
	// Image is the digest of the image of a container, or "" for a process.
	Image string `json:"image,omitempty"`
	// Uses are the digests, and the names of environments, of all that it uses.
	Uses []string `json:"uses"`
}

func (s *server) run(name string) string { return filepath.Join(s.dir, "runs", name) }

func readRecord(dir string, into *record) error { return local.ReadJSON(recordPath(dir), into) }

func recordPath(dir string) string { return filepath.Join(dir, "host.json") }

// lock waits for the lock of the folder.
func (s *server) lock(ctx context.Context) (*os.File, error) {
	return files.Lock(ctx, filepath.Join(s.dir, "lock"))
}

// of returns the record and the handle of a run, or nil if it was not started, or is another
// start than the one that is named.
func (s *server) of(ctx context.Context, in Named) (*record, *state.Handle, error) {
	if !runName(in.Run) {
		return nil, nil, fmt.Errorf("%q is not the name of a run", in.Run)
	}
	var rec record
	dir := s.run(in.Run)
	err := readRecord(dir, &rec)
	if errors.Is(err, fs.ErrNotExist) || err == nil && in.UID != "" && in.UID != rec.UID {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	h, err := s.runnerOf(&rec).Find(ctx, rec.Name, dir)
	return &rec, h, err
}

// start starts a job, or finds what was started before: a job that runs or has ended. From
// admission to start it holds the lock of the folder, so that what runs is exactly what was
// counted.
func (s *server) start(ctx context.Context, in Start) (Started, error) {
	locked, stopping, err := s.lockToStart(ctx)
	if err != nil || stopping != "" {
		return Started{Stopping: stopping}, err
	}
	defer locked.Close()
	rec, h, err := s.of(ctx, Named{Run: in.Run})
	if err != nil {
		return Started{}, err
	}
	if rec != nil && (rec.Name != in.Task.Name || rec.Service.Unit != in.Task.Unit.ID) {
		return Started{}, fmt.Errorf("the folder %s belongs to %s of %s", s.run(in.Run), rec.Name, rec.Service.Unit)
	}
	if continues, err := s.continues(ctx, in.Task, rec, h); err != nil {
		return Started{}, err
	} else if continues {
		return Started{UID: rec.UID, Unit: rec.Unit}, nil
	}
	never := s.cannotStop(ctx)
	if never == "" && in.Image != nil {
		never = s.containerless(ctx)
	}
	if never != "" {
		return Started{Never: never}, nil
	}
	capacity := capacityOf(in.Capacity)
	claim := claimed(in.Claim, capacity)
	if never := beyond(claim, capacity, ir.Resources{}); never != "" {
		return Started{Never: never}, nil
	}
	if full := beyond(claim, capacity, s.used(ctx, in.Former)); full != "" {
		return Started{Full: full}, nil
	}
	devices, never, full, err := s.lend(ctx, in.Task.Unit.Needs, in.Former)
	if err != nil || never != "" || full != "" {
		return Started{Never: never, Full: full}, err
	}
	if missing, err := s.missing(ctx, in); err != nil || len(missing) > 0 {
		return Started{Missing: missing}, err
	}
	var unfit *unfitError
	if in.Image != nil {
		err = os.Chmod(s.program(s.runner), 0o755) // earlier versions kept it from other users
	} else {
		err = s.prepare(ctx, in)
	}
	if errors.As(err, &unfit) {
		return Started{Never: err.Error()}, nil
	} else if err != nil {
		return Started{}, err
	}
	if rec == nil {
		rec = &record{UID: newUID()}
	}
	rec.Run, rec.Name, rec.Claim, rec.Began, rec.Outputs = in.Run, in.Task.Name, claim, time.Now(), nil
	rec.Devices, in.Task.Devices, rec.Image = devices, devices, ""
	if in.Image != nil {
		rec.Image = in.Image.Digest
	}
	if rec.Uses, err = s.uses(in); err != nil {
		return Started{}, err
	}
	rec.Unit = Unit{
		Service: Service{State: in.Task.State, Environment: in.Task.Environment, Unit: in.Task.Unit.ID},
		Kind:    in.Task.Unit.Kind, Endpoint: in.Task.Unit.Endpoint,
	}
	for _, out := range in.Task.Unit.Outputs {
		rec.Outputs = append(rec.Outputs, out.Port)
	}
	former, err := s.former(ctx, in)
	if err != nil {
		return Started{}, err
	}
	t, err := s.lay(in, rec.Service, h != nil)
	if err != nil {
		return Started{}, err
	}
	if rec.Checkpoints = ""; t.Checkpoints != nil {
		rec.Checkpoints = t.Checkpoints.Path
	}
	with := s.runnerOf(rec)
	if by, err := with.Taken(ctx, t, former); err != nil {
		return Started{}, err
	} else if by != "" {
		return Started{Taken: fmt.Sprintf("%s is in use by %s", t.Unit.Endpoint.Address(), by)}, nil
	}
	if err := local.SaveJSON(recordPath(t.Dir), rec); err != nil {
		return Started{}, err
	}
	if _, err := with.Apply(context.WithValue(ctx, startKey{}, in), t, former); err != nil {
		if in.Image != nil { // it may have gone since it was seen
			if loaded, failed := s.imageFor(ctx, in.Image); failed == nil && !loaded {
				return Started{Missing: []string{in.Image.Digest}}, nil
			}
		}
		return Started{}, err
	}
	return Started{UID: rec.UID, Unit: rec.Unit}, nil
}

// newUID returns a name that no other start has.
func newUID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// lay gives a task its folder and the paths of this host. What was left there by a start that
// never began is replaced. A service that is started again keeps its log.
func (s *server) lay(in Start, of Service, again bool) (executors.Task, error) {
	t := in.Task
	t.Dir = s.run(in.Run)
	old := t.Dir
	if again {
		old = filepath.Join(t.Dir, "data")
	}
	if err := files.RemoveAll(old); err != nil {
		return t, err
	}
	if err := s.listenOn(&t); err != nil {
		return t, err
	}
	if err := os.MkdirAll(t.Dir, 0o700); err != nil {
		return t, err
	}
	t = s.place(t, in.Part, in.Environments)
	beside := map[string]executors.Task{}
	for name, other := range t.Beside {
		other.Dir = t.Dir
		if err := s.listenOn(&other); err != nil {
			return t, err
		}
		beside[name] = s.place(other, in.Beside[name], in.Environments)
	}
	t.Beside = beside
	if t.Unit.Keeps != "" {
		t.Kept = s.keptDir(of)
		if err := os.MkdirAll(t.Kept, 0o700); err != nil {
			return t, err
		}
	}
	if t.Checkpoints != nil {
		at := *t.Checkpoints
		if at.Path = s.checkpointsOf(of.State, at.Key); !runName(at.Key) {
			return t, fmt.Errorf("%q is not the key of a run", at.Key)
		}
		if err := os.MkdirAll(at.Path, 0o700); err != nil {
			return t, err
		}
		if err := errors.Join(files.Sweep(at.Path), at.RemoveOutdated()); err != nil {
			return t, err
		}
		t.Checkpoints = &at
	}
	paths := make([]string, len(in.Data))
	for i, d := range in.Data {
		if !filepath.IsLocal(d.Path) {
			return t, fmt.Errorf("the path %q of a data file leaves its folder", d.Path)
		}
		paths[i] = filepath.Join(t.Dir, "data", d.Path)
		if err := os.MkdirAll(filepath.Dir(paths[i]), 0o755); err != nil {
			return t, err
		}
		// A second name and no copy: the artifact is read-only.
		if err := os.Link(s.artifacts.Path(d.Ref.Digest), paths[i]); err != nil {
			return t, err
		}
	}
	t.Files = map[string][]string{}
	for pattern, all := range in.Files {
		t.Files[pattern] = []string{}
		for _, i := range all {
			if i < 0 || i >= len(paths) {
				return t, fmt.Errorf("there is no data file %d", i)
			}
			t.Files[pattern] = append(t.Files[pattern], paths[i])
		}
	}
	return t, nil
}

// place gives a task the paths of what was sent for it.
func (s *server) place(t executors.Task, p Part, environments map[string]Environment) executors.Task {
	t.Code, t.Kept = "", ""
	if p.Code != nil {
		t.Code = s.artifacts.Path(p.Code.Digest)
	}
	inputs := map[string]step.Port{}
	for port, in := range t.Inputs {
		if ref, ok := p.Inputs[port]; ok {
			in.Path = s.artifacts.Path(ref.Digest)
		}
		inputs[port] = in
	}
	t.Inputs = inputs
	lock := func(digest string) string { return s.artifacts.Path(environments[digest].Lock.Digest) }
	if t.Lock != "" {
		t.Lock = lock(t.Unit.Code.Lock)
	}
	further := map[string]string{}
	for digest := range t.Environments {
		further[digest] = lock(digest)
	}
	t.Environments = further
	return t
}

func (s *server) find(ctx context.Context, in Named) (Started, error) {
	rec, h, err := s.of(ctx, in)
	if err != nil || h == nil {
		return Started{}, err
	}
	return Started{UID: rec.UID, Unit: rec.Unit}, nil
}

func (s *server) inspect(ctx context.Context, in Named) (Status, error) {
	rec, h, err := s.of(ctx, in)
	if err != nil || h == nil {
		return Status{Status: state.Status{Phase: state.Absent}, Now: time.Now()}, err
	}
	st, err := s.runnerOf(rec).Inspect(ctx, *h)
	return Status{st, time.Now()}, err
}

// progressEvery is how often the progress of a job is looked at.
const progressEvery = 200 * time.Millisecond

// wait sends the progress of a job, and at last its status.
func (s *server) wait(w http.ResponseWriter, r *http.Request) {
	var in Named
	if !read(w, r, &in) {
		return
	}
	send := func(m Moment) {
		_ = json.NewEncoder(w).Encode(m) // a caller that is gone has canceled the request
		_ = http.NewResponseController(w).Flush()
	}
	rec, h, err := s.of(r.Context(), in)
	switch {
	case err != nil:
		send(Moment{Error: err.Error()})
		return
	case h == nil:
		send(Moment{Status: &Status{state.Status{Phase: state.Absent}, time.Now()}})
		return
	}
	type ending struct {
		st  state.Status
		err error
	}
	ended := make(chan ending, 1)
	go func() {
		st, err := s.runnerOf(rec).Wait(r.Context(), *h)
		ended <- ending{st, err}
	}()
	progress := filepath.Join(s.run(in.Run), executors.ProgressFile)
	more := func() {
		for {
			b := tail(progress, in.Offset)
			if len(b) == 0 {
				return
			}
			in.Offset += int64(len(b))
			send(Moment{Progress: b})
		}
	}
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	send(Moment{}) // the caller knows that the request has arrived
	for {
		select {
		case <-ticker.C:
			more()
		case e := <-ended:
			if e.err != nil {
				send(Moment{Error: e.err.Error()})
				return
			}
			more()
			send(Moment{Status: &Status{e.st, time.Now()}})
			return
		}
	}
}

// tail returns some of what a file has beyond an offset. A program may have put anything
// there.
func tail(path string, offset int64) []byte {
	f, err := outputs.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, 64<<10)
	n, _ := f.ReadAt(b, offset) // at the end, n is what is there
	return b[:n]
}

// logs sends the log of a job as it is printed.
func (s *server) logs(w http.ResponseWriter, r *http.Request) {
	var in Named
	if !read(w, r, &in) {
		return
	}
	rec, h, err := s.of(r.Context(), in)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if h == nil {
		http.Error(w, "it was removed, with its log", http.StatusNotFound)
		return
	}
	_ = http.NewResponseController(w).Flush()
	if err := s.runnerOf(rec).Logs(r.Context(), *h, flushing{w}, in.Follow); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// flushing sends what is written at once.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}

// result stores the outputs of a job that has ended, and names them. It can be repeated.
func (s *server) result(ctx context.Context, in Named) (Result, error) {
	for {
		out, there, err := s.store(ctx, in)
		if err != nil || there {
			return out, err
		}
	}
}

// store stores the outputs of a job. It reports whether the host still has all of them: a collection may
// have removed one, which it had already, before the job was known to have made it.
func (s *server) store(ctx context.Context, in Named) (out Result, there bool, err error) {
	rec, h, err := s.of(ctx, in)
	if err != nil {
		return out, false, err
	}
	if h == nil {
		return out, false, errors.New("it was removed, with its outputs")
	}
	if st, err := s.runnerOf(rec).Inspect(ctx, *h); err != nil {
		return out, false, err
	} else if st.Phase == state.Running {
		return out, false, errors.New("it still runs")
	}
	dir := s.run(in.Run)
	out = Result{Outputs: map[string]artifact.Ref{}, Faults: map[string]string{}}
	for _, port := range rec.Outputs {
		path := filepath.Join(dir, "out", port)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var a artifact.Artifact
		if err == nil {
			a, err = s.artifacts.Add(ctx, path, "output")
		}
		if err != nil {
			if ctx.Err() != nil {
				return out, false, ctx.Err()
			}
			out.Faults[port] = err.Error()
			continue
		}
		out.Outputs[port] = artifact.Ref{Digest: a.Digest, Dir: info.IsDir(), Size: a.Size}
	}
	if there, err := s.took(ctx, rec, out.Outputs); err != nil || !there {
		return out, there, err
	}
	if out.Metrics, err = outputs.Read(filepath.Join(dir, executors.MetricsFile)); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return out, true, err
}

// destroy ends a job and removes its folder.
func (s *server) destroy(ctx context.Context, in Named) (struct{}, error) {
	rec, h, err := s.of(ctx, in)
	if err != nil || rec == nil {
		return struct{}{}, err
	}
	succeeded := false
	if h != nil {
		if st, err := s.runnerOf(rec).Inspect(ctx, *h); err == nil {
			succeeded = st.Phase == state.Succeeded
		}
		within, cancel := context.WithCancel(ctx)
		defer cancel()
		if in.Now {
			cancel()
		}
		if err := s.runnerOf(rec).Destroy(within, *h); err != nil {
			return struct{}{}, err
		}
	}
	ctx = context.WithoutCancel(ctx)
	locked, err := s.lock(ctx)
	if err != nil {
		return struct{}{}, err
	}
	defer locked.Close()
	// It may have been removed and started again in the meantime.
	now, h, err := s.of(ctx, Named{Run: in.Run, UID: rec.UID})
	if err != nil || now == nil || h != nil {
		return struct{}{}, err
	}
	if succeeded && rec.Checkpoints != "" {
		if err := files.RemoveAll(rec.Checkpoints); err != nil {
			return struct{}{}, err
		}
	}
	return struct{}{}, files.RemoveAll(s.run(in.Run))
}

// checkpointsOf returns the folder of the checkpoints of a run with a key.
func (s *server) checkpointsOf(lineage, key string) string {
	return filepath.Join(s.dir, checkpointsFolder, markOf(lineage), key)
}

const checkpointsFolder = "checkpoints"
