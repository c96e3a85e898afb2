package ssh

import (
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
	folder  bool
	program bool
}

// prepare finds out the digests of what a task reads, which takes long for large data, so that
// it is done once, for all hosts.
func (e *Executor) prepare(ctx context.Context, t executors.Task, run string) (prepared, error) {
	if err := local.Present(t); err != nil {
		return prepared{}, err
	}
	p := prepared{
		start: host.Start{
			Run: run, Task: t, Inputs: map[string]artifact.Ref{}, Files: map[string][]int{},
			Claim: ir.Resources{MilliCPU: t.Unit.Needs.MilliCPU, Memory: t.Unit.Needs.Memory},
		},
		sources: map[string]source{},
	}
	if err := p.all(ctx, t); err != nil {
		return prepared{}, err
	}
	runner, err := e.programs.digest(e.opts.Runner)
	if err != nil {
		return prepared{}, err
	}
	p.sources[runner] = source{path: e.opts.Runner, name: "tenon-run", program: true}
	if t.Unit.Code.Runtime == ir.Builtin || t.Unit.Code.DuckDB != "" {
		path, err := e.opts.Programs.Duck(ctx)
		if err == nil {
			p.start.Duck, err = e.programs.digest(path)
		}
		if err != nil {
			return prepared{}, err
		}
		p.sources[p.start.Duck] = source{path: path, name: "tenon-duck", program: true}
	}
	return p, nil
}

// prepared is what a host has to start, without its capacity, and where what that reads is on
// this machine.
type prepared struct {
	start   host.Start
	sources map[string]source // by digest
}

func (p *prepared) all(ctx context.Context, t executors.Task) error {
	if len(t.Unit.Code.Files) > 0 {
		ref, err := p.add(ctx, t.Code, "", "code")
		if err != nil {
			return err
		}
		p.start.Code = &ref
	}
	for _, port := range slices.Sorted(maps.Keys(t.Inputs)) {
		in := t.Inputs[port]
		if in.Kind == ir.EndpointOf || in.Lost {
			continue
		}
		ref, err := p.add(ctx, in.Path, in.Digest, "input "+port)
		if err != nil {
			return err
		}
		p.start.Inputs[port] = ref
	}
	return p.data(ctx, t.Files)
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
func (e *Executor) send(ctx context.Context, l *link, sources map[string]source, missing []string) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, digest := range missing {
		from, ok := sources[digest]
		if !ok {
			return own(fmt.Errorf("host %s asks for %s, which the task does not read", l.host, digest))
		}
		group.Go(func() error {
			if err := l.put(inGroup, digest, from); err != nil {
				return fmt.Errorf("%s: %w", from.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// put sends an artifact or a program, which the host compares with the digest.
func (l *link) put(ctx context.Context, digest string, from source) error {
	at := host.ArtifactPath + digest
	switch {
	case from.program:
		at = host.ProgramPath + digest
	case from.folder:
		at += "?folder"
	}
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := host.Send(ctx, w, from.path, from.folder)
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
	if err := host.Receive(body, to, ref.Dir); err != nil {
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
