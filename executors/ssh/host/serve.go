package host

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// Options configure what answers on a host.
type Options struct {
	Dir    string        // see the package comment; created if missing
	Runner string        // digest of tenon-run
	Grace  time.Duration // how long a program may take to end after SIGTERM; zero is 10 s
	Env    []string      // variables of the host, from which a few are passed on; as of os.Environ
	// Containerd is the path of the socket of containerd, which runs images; "" is [DefaultContainerd].
	Containerd string
}

// A server answers requests.
type server struct {
	dir       string
	runner    string   // digest of tenon-run
	cdi       []string // folders with specifications of devices; nil are the usual ones
	env       []string // variables of the host
	address   string   // of this host, as the sender reaches it
	artifacts *artifact.Store
	process   *process.Executor

	containerd string // path of its socket
	containers *containerd.Executor
}

// Serve answers requests that arrive at in, until in ends or ctx is done.
func Serve(ctx context.Context, in io.ReadCloser, out io.WriteCloser, o Options) error {
	s, err := open(o)
	if err != nil {
		return err
	}
	defer s.containers.Close() //nolint:errcheck // the process ends
	if own, err := os.Executable(); err == nil {
		_ = s.mark(others, filepath.Base(own)) // otherwise it is sent again some day, and a full disk may need this process
	}
	conn := NewConn(in, out)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler: s.handler(), Protocols: &protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxRequests},
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	err = srv.Serve(&single{conn: conn, done: ctx.Done()})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// maxRequests is how many requests of one connection run at once: each job that is waited for
// is one.
const maxRequests = 10_000

// open prepares the folder.
func open(o Options) (*server, error) {
	for _, sub := range []string{"", "programs", "artifacts", ofArtifacts, ofTrees, "trees", "runs", "environments"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(o.Dir, &st); err != nil {
		return nil, fmt.Errorf("look at %s: %w", o.Dir, err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return nil, fmt.Errorf("other users can reach %s, where secrets of jobs may be: run `chmod 700 %[1]s` as its owner, or name another folder", o.Dir)
	}
	store, err := artifact.Open(filepath.Join(o.Dir, "artifacts"))
	if err != nil {
		return nil, err
	}
	s := &server{dir: o.Dir, runner: o.Runner, env: o.Env, address: ownAddress(o.Env), artifacts: store, containerd: cmp.Or(o.Containerd, DefaultContainerd)}
	s.process = process.New(process.Options{
		Programs: executors.Programs{
			Duck:  s.own("tenon-duck", func(in Start) string { return in.Duck }),
			Serve: s.own("tenon-serve", func(in Start) string { return in.Serve }),
		},
		Runner: s.program(o.Runner), Python: environments{s}, Env: o.Env, Grace: o.Grace,
	})
	s.containers = s.newContainers(o)
	return s, nil
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+StartPath, s.needing(answer(s.start)))
	mux.HandleFunc("POST "+FindPath, answer(s.find))
	mux.HandleFunc("POST "+InspectPath, answer(s.inspect))
	mux.HandleFunc("POST "+ResultPath, s.needing(answer(s.result)))
	mux.HandleFunc("POST "+DestroyPath, s.needing(answer(s.destroy)))
	mux.HandleFunc("POST "+LackPath, s.needing(answer(s.lacks)))
	mux.HandleFunc("POST "+RoutePath, s.needing(answer(s.setRoute)))
	mux.HandleFunc("POST "+ObservePath, answer(s.observe))
	mux.HandleFunc("POST "+ServicePath, answer(s.services))
	mux.HandleFunc("POST "+KeptPath, answer(s.kept))
	mux.HandleFunc("POST "+CollectPath, answer(s.collect))
	mux.HandleFunc("POST "+AutostopPath, answer(s.setAutostop))
	mux.HandleFunc("POST "+KeptFilePath, s.getKept)
	mux.HandleFunc("POST "+WaitPath, s.wait)
	mux.HandleFunc("POST "+LogsPath, s.logs)
	mux.HandleFunc("POST "+ImagePath, s.needing(answer(s.load)))
	mux.HandleFunc("PUT "+BlobPath+"{digest}", s.needing(s.putBlob))
	mux.HandleFunc("GET "+ArtifactPath+"{digest}", s.needing(s.getArtifact))
	mux.HandleFunc("PUT "+ArtifactPath+"{digest}", s.needing(s.putArtifact))
	mux.HandleFunc("PUT "+TreePath+"{digest}", s.needing(s.putTree))
	mux.HandleFunc("PUT "+ProgramPath+"{digest}", s.needing(s.putProgram))
	return mux
}

// maxBody bounds a request in JSON, in bytes.
const maxBody = 256 << 20

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into)
	if err != nil {
		http.Error(w, "the request cannot be read: "+err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

// answer makes a handler of a function from a request to an answer in JSON.
func answer[In, Out any](f func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if !read(w, r, &in) {
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(out) // the caller sees a broken answer
	}
}

// program returns the path of a program, "" without a digest.
func (s *server) program(digest string) string {
	h, ok := artifact.Hex(digest)
	if !ok {
		return ""
	}
	return filepath.Join(s.dir, "programs", h)
}

func (s *server) putProgram(w http.ResponseWriter, r *http.Request) {
	digest := r.PathValue("digest")
	s.put(w, digest, func(tmp string) error {
		// In a container, another user runs it. The folder around it keeps others away.
		if err := receiveFile(r.Body, tmp, 0o755, -1); err != nil {
			return err
		}
		got, err := artifact.File(r.Context(), tmp)
		if err == nil && got != digest {
			err = &artifact.DamagedError{Digest: digest, Path: "what arrived", Got: got}
		}
		if err != nil {
			return err
		}
		return os.Rename(tmp, s.program(digest))
	})
}

func (s *server) putTree(w http.ResponseWriter, r *http.Request) {
	digest := r.PathValue("digest")
	s.put(w, digest, func(tmp string) error { return s.receiveTree(r.Context(), bufio.NewReader(r.Body), tmp, digest) })
}

func (s *server) putArtifact(w http.ResponseWriter, r *http.Request) {
	digest := r.PathValue("digest")
	s.put(w, digest, func(tmp string) error {
		if r.URL.Query().Has("folder") {
			return s.receiveFolder(r.Context(), bufio.NewReader(r.Body), tmp, digest)
		}
		if err := ReceiveFile(r.Body, tmp); err != nil {
			return err
		}
		return s.keep(r.Context(), tmp, digest)
	})
}

// keep stores what has arrived, if it has that digest.
func (s *server) keep(ctx context.Context, tmp, digest string) error {
	a, err := s.artifacts.Put(ctx, tmp, "input")
	if err == nil && a.Digest != digest {
		// It is stored under its own digest, where it harms nobody.
		err = &artifact.DamagedError{Digest: digest, Path: "what arrived", Got: a.Digest}
	}
	return err
}

// put calls do with a path for content that arrives.
func (s *server) put(w http.ResponseWriter, digest string, do func(tmp string) error) {
	if _, ok := artifact.Hex(digest); !ok {
		http.Error(w, fmt.Sprintf("%q is not a digest", digest), http.StatusBadRequest)
		return
	}
	tmp, err := os.MkdirTemp(s.dir, files.HalfWritten)
	if err == nil {
		err = do(filepath.Join(tmp, "content"))
		err = errors.Join(err, files.RemoveAll(tmp))
	}
	switch {
	case errors.Is(err, errNotHere):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (s *server) getArtifact(w http.ResponseWriter, r *http.Request) {
	path := s.artifacts.Path(r.PathValue("digest"))
	info, err := os.Lstat(path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	if !info.IsDir() {
		err = SendFile(r.Context(), w, path)
	} else if contents, failed := artifact.ContentsOf(r.Context(), path); failed != nil {
		err = failed
	} else {
		err = Send(r.Context(), w, contents, nil)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // so that the caller does not take it for the whole
	}
}

// missing lists what a start needs and the host does not have.
func (s *server) missing(ctx context.Context, in Start) (digests []string, err error) {
	for _, p := range []string{s.runner, in.Duck, in.Serve} {
		if p == "" {
			continue
		}
		if _, err := os.Stat(s.program(p)); err != nil {
			digests = append(digests, p)
		}
	}
	for _, ref := range in.refs() {
		if !s.artifacts.Has(ref.Digest) {
			digests = append(digests, ref.Digest)
		}
	}
	if in.Image != nil {
		loaded, err := s.imageFor(ctx, in.Image)
		if err == nil && !loaded {
			digests = append(digests, in.Image.Digest)
		}
		return digests, err
	}
	for _, e := range in.Environments {
		for _, tree := range []string{e.Packages, e.Interpreter} {
			if _, err := os.Stat(s.treePath(tree)); tree != "" && err != nil {
				digests = append(digests, tree)
			}
		}
	}
	return digests, nil
}

// refs returns all artifacts that a start reads.
func (in *Start) refs() (refs []artifact.Ref) {
	for _, p := range in.parts() {
		if p.Code != nil {
			refs = append(refs, *p.Code)
		}
		refs = slices.AppendSeq(refs, maps.Values(p.Inputs))
	}
	for _, d := range in.Data {
		refs = append(refs, d.Ref)
	}
	for _, e := range in.Environments {
		refs = append(refs, e.Lock)
	}
	return refs
}

// startKey is where the context of a start has the start.
type startKey struct{}

// startIn returns the start in a context.
func startIn(ctx context.Context) Start {
	in, _ := ctx.Value(startKey{}).(Start)
	return in
}

// own finds the program of Tenon that the start in a context names.
func (s *server) own(name string, of func(Start) string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		digest := of(startIn(ctx))
		if digest == "" {
			return "", fmt.Errorf("the request does not name the %s that runs it", name)
		}
		return s.program(digest), nil
	}
}

// A single listener accepts one connection.
type single struct {
	once sync.Once
	conn *Conn
	done <-chan struct{}
}

// Accept returns the connection, and io.EOF once that has ended.
func (l *single) Accept() (net.Conn, error) {
	var c net.Conn
	if l.once.Do(func() { c = l.conn }); c != nil {
		return c, nil
	}
	select {
	case <-l.conn.Done():
	case <-l.done:
	}
	return nil, io.EOF
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return pipe{} }

// A Conn is a connection over two pipes. It has no deadlines: both sides see the end of a
// pipe, and HTTP/2 asks whether the other side is there.
type Conn struct {
	in   io.ReadCloser
	out  io.WriteCloser
	once sync.Once
	done chan struct{}
}

// NewConn returns a connection that reads from in and writes to out.
func NewConn(in io.ReadCloser, out io.WriteCloser) *Conn {
	return &Conn{in: in, out: out, done: make(chan struct{})}
}

// Done is closed once the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

func (c *Conn) end() { c.once.Do(func() { close(c.done) }) }

func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	if err != nil {
		c.end()
	}
	return n, err
}

func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.out.Write(b)
	if err != nil {
		c.end()
	}
	return n, err
}

// Close ends the connection.
func (c *Conn) Close() error {
	c.end()
	return errors.Join(c.out.Close(), c.in.Close())
}

func (c *Conn) LocalAddr() net.Addr              { return pipe{} }
func (c *Conn) RemoteAddr() net.Addr             { return pipe{} }
func (c *Conn) SetDeadline(time.Time) error      { return nil }
func (c *Conn) SetReadDeadline(time.Time) error  { return nil }
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// A pipe has no address.
type pipe struct{}

func (pipe) Network() string { return "pipe" }
func (pipe) String() string  { return "pipe" }

// runName reports whether a name can be that of a folder of a run.
func runName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
