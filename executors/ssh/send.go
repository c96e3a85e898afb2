package ssh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/ssh/host"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// A source is something of this machine that a host may need.
type source struct {
	path    string
	name    string // as shown to users
	program bool
	folder  bool
	tree    *artifact.Contents // a folder of programs, which does not exist as such
	image   v1.Image           // of a container
}

// prepare finds out the digests of what a task reads, which takes long for large data, so that
// it is done once, for all hosts.
func (e *Executor) prepare(ctx context.Context, t executors.Task, run string) (*prepared, error) {
	if err := local.Present(t); err != nil {
		return nil, err
	}
	t, err := e.called(ctx, t)
	if err != nil {
		return nil, err
	}
	p := newPrepared(t, run)
	if p.start.Part, err = p.part(ctx, t); err != nil {
		return nil, err
	}
	for name, other := range t.Beside {
		if p.start.Beside[name], err = p.part(ctx, other); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := p.data(ctx, t.Files); err != nil {
		return nil, err
	}
	in := contained(t.Unit)
	if in {
		img, err := e.image(ctx, t)
		if err == nil {
			err = p.image(ctx, t, img)
		}
		if err != nil {
			return nil, err
		}
	} else if err := e.environments(ctx, t, p); err != nil {
		return nil, err
	}
	for _, program := range []struct {
		name   string
		find   func(context.Context) (string, error)
		needed bool
		digest *string
	}{
		{"tenon-run", func(context.Context) (string, error) { return e.opts.Runner, nil }, true, new(string)},
		{"tenon-duck", e.opts.Programs.Duck, usesDuck(t) && !in, &p.start.Duck},
		{"tenon-serve", e.opts.Programs.Serve, t.Unit.Code.Runtime == ir.Plane && !in, &p.start.Serve},
	} {
		if !program.needed {
			continue
		}
		path, err := program.find(ctx)
		if err == nil {
			*program.digest, err = e.programs.digest(path)
		}
		if err != nil {
			return nil, err
		}
		p.sources[*program.digest] = source{path: path, name: program.name, program: true}
	}
	return p, nil
}

// prepared is what a host has to start, without its capacity, and where what that reads is on
// this machine.
type prepared struct {
	start   host.Start
	sources map[string]source // by digest
}

func newPrepared(t executors.Task, run string) *prepared {
	return &prepared{
		start: host.Start{
			Run: run, Task: t, Beside: map[string]host.Part{}, Files: map[string][]int{}, Environments: map[string]host.Environment{},
			Claim: ir.Resources{MilliCPU: t.Unit.Needs.MilliCPU, Memory: t.Unit.Needs.Memory},
		},
		sources: map[string]source{},
	}
}

// usesDuck reports whether tenon-duck runs a unit, or the unit starts it.
func usesDuck(t executors.Task) bool {
	return t.Unit.Code.Runtime == ir.Builtin || t.Unit.Code.Runtime == ir.PlaneDuckDB || t.Unit.Code.DuckDB != ""
}

// part adds what one version of a unit reads.
func (p *prepared) part(ctx context.Context, t executors.Task) (host.Part, error) {
	part := host.Part{Inputs: map[string]artifact.Ref{}}
	if len(t.Unit.Code.Files) > 0 {
		ref, err := p.add(ctx, t.Code, "", "code")
		if err != nil {
			return part, err
		}
		part.Code = &ref
	}
	for _, port := range slices.Sorted(maps.Keys(t.Inputs)) {
		in := t.Inputs[port]
		if in.Kind == ir.EndpointOf || in.Lost {
			continue
		}
		ref, err := p.add(ctx, in.Path, in.Digest, "input "+port)
		if err != nil {
			return part, err
		}
		part.Inputs[port] = ref
	}
	return part, nil
}

// environments adds the Python environments of all versions of a unit.
func (e *Executor) environments(ctx context.Context, t executors.Task, p *prepared) error {
	for _, of := range append(slices.Collect(maps.Values(t.Beside)), t) {
		if of.Lock != "" && of.Unit.Code.Runtime != ir.Builtin {
			if err := e.environment(ctx, of.Unit.Code.Lock, of.Lock, p); err != nil {
				return err
			}
		}
		for digest, path := range of.Environments {
			if err := e.environment(ctx, digest, path, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Executor) environment(ctx context.Context, digest, path string, p *prepared) error {
	if _, ok := p.start.Environments[digest]; ok {
		return nil
	}
	lock, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the lock of the Python environment: %w", err)
	}
	made, err := e.portable(ctx, digest, lock)
	if err != nil {
		return err
	}
	ref, err := p.add(ctx, path, "", "lock of the Python environment")
	if err != nil {
		return err
	}
	env := host.Environment{
		Lock: ref, Packages: p.tree(made.Packages, "Python packages"), Path: made.Path, Name: made.Name, Version: made.Version,
		Probe: made.Probe, Says: made.Says, Libc: made.Libc,
	}
	if made.Interpreter != nil {
		env.Interpreter = p.tree(*made.Interpreter, "Python "+made.Version)
	}
	p.start.Environments[digest] = env
	return nil
}

// tree adds a folder of programs and returns its digest.
func (p *prepared) tree(c artifact.Contents, name string) string {
	digest := c.Digest()
	p.sources[digest] = source{name: name, tree: &c}
	return digest
}

// data adds data files, with their paths below the folder that contains all of them: the names
// of folders may carry meaning.
func (p *prepared) data(ctx context.Context, patterns map[string][]string) error {
	var all []string
	for _, found := range patterns {
		all = append(all, found...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	common := local.CommonDir(all)
	at := map[string]int{}
	for i, path := range all {
		ref, err := p.add(ctx, path, "", "data "+path)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(common, path)
		if err != nil {
			return err
		}
		p.start.Data = append(p.start.Data, host.Datum{Path: below, Ref: ref})
		at[path] = i
	}
	for pattern, found := range patterns {
		p.start.Files[pattern] = []int{}
		for _, path := range found {
			p.start.Files[pattern] = append(p.start.Files[pattern], at[path])
		}
	}
	return nil
}

// add adds a file or folder. Without a well-formed digest it is read to find that out.
func (p *prepared) add(ctx context.Context, path, digest, name string) (artifact.Ref, error) {
	info, err := os.Stat(path)
	if err != nil {
		return artifact.Ref{}, fmt.Errorf("%s: %w", name, err)
	}
	ref := artifact.Ref{Digest: digest, Dir: info.IsDir()}
	if _, ok := artifact.Hex(digest); !ok {
		real, err := filepath.EvalSymlinks(path) // data may be a link to a file
		if err == nil {
			path = real
			ref, _, err = artifact.Look(ctx, path)
		}
		if err != nil {
			return ref, fmt.Errorf("%s: %w", name, err)
		}
	}
	p.sources[ref.Digest] = source{path: path, name: name, folder: ref.Dir}
	return ref, nil
}

// atOnce is how many artifacts of a task are transferred in parallel.
const atOnce = 4

// send copies to a host what that misses, by digest.
func (e *Executor) send(ctx context.Context, l *link, p *prepared, missing []string) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, digest := range missing {
		from, ok := p.sources[digest]
		if !ok {
			return own(fmt.Errorf("host %s asks for %s, which the task does not read", l.host, digest))
		}
		group.Go(func() error {
			var err error
			if from.image != nil {
				err = l.putImage(inGroup, *p.start.Image, from.image)
			} else {
				err = l.put(inGroup, digest, from)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", from.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// put sends an artifact or a program, which the host compares with the digest.
func (l *link) put(ctx context.Context, digest string, from source) error {
	switch {
	case from.program:
		return l.stream(ctx, host.ProgramPath+digest, func(w io.Writer) error { return host.SendFile(ctx, w, from.path) })
	case from.tree != nil:
		return l.putFolder(ctx, host.TreePath+digest, *from.tree)
	case from.folder:
		c, err := artifact.ContentsOf(ctx, from.path)
		if err != nil {
			return own(err)
		}
		return l.putFolder(ctx, host.ArtifactPath+digest+"?folder", c)
	}
	return l.stream(ctx, host.ArtifactPath+digest, func(w io.Writer) error { return host.SendFile(ctx, w, from.path) })
}

// putFolder sends the files of a folder that the host has in no other folder.
func (l *link) putFolder(ctx context.Context, at string, c artifact.Contents) error {
	lacks, err := ask[[]string](ctx, l, host.LackPath, host.Lacking{Listing: string(artifact.Listing(c.Entries))})
	if err != nil {
		return err
	}
	lacking := map[string]bool{}
	for _, digest := range lacks {
		lacking[digest] = true
	}
	send := func(has func(artifact.Entry) bool) error {
		return l.stream(ctx, at, func(w io.Writer) error { return host.Send(ctx, w, c, has) })
	}
	err = send(func(e artifact.Entry) bool { return e.Kind != artifact.Link && !lacking[e.Digest] })
	var said *saidError
	if errors.As(err, &said) && said.code == http.StatusConflict { // a file that it had is gone or damaged
		return send(nil)
	}
	return err
}

// stream sends the body of a PUT request.
func (l *link) stream(ctx context.Context, at string, send func(io.Writer) error) error {
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		buffered := bufio.NewWriterSize(w, 64<<10)
		err := send(buffered)
		if err == nil {
			err = buffered.Flush()
		}
		w.CloseWithError(err) //nolint:errcheck // it always returns nil
		sent <- err
	}()
	body, err := l.request(ctx, http.MethodPut, at, r)
	r.CloseWithError(errDone) //nolint:errcheck // it always returns nil
	if mine := <-sent; mine != nil && !errors.Is(mine, errDone) && ctx.Err() == nil {
		return own(mine) // the request failed because of it
	}
	if err != nil {
		return err
	}
	return body.Close()
}

var errDone = errors.New("the host does not read any more")

// get fetches an artifact to a path that does not exist, and compares it with its digest.
func (l *link) get(ctx context.Context, ref artifact.Ref, to string) error {
	body, err := l.request(ctx, http.MethodGet, host.ArtifactPath+ref.Digest, http.NoBody)
	if err != nil {
		return err
	}
	defer body.Close()
	if ref.Dir {
		_, err = host.Receive(bufio.NewReader(body), to, nil)
	} else {
		err = host.ReceiveFile(body, to)
	}
	if err != nil {
		var file *fs.PathError
		var link *os.LinkError
		if errors.As(err, &file) || errors.As(err, &link) {
			return own(err)
		}
		return err
	}
	got, err := artifact.Digest(ctx, to)
	if err == nil && got != ref.Digest {
		err = &artifact.DamagedError{Digest: ref.Digest, Path: "what host " + l.host.String() + " sent", Got: got}
	}
	return own(err) // all of it has arrived: to connect again does not help
}

// portOf reports whether a host may name an output so.
func portOf(name string) bool { return filepath.IsLocal(name) && filepath.Base(name) == name }
