package lang

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"cuelang.org/go/cue/load"
	"cuelang.org/go/mod/modconfig"
	"cuelang.org/go/mod/modfile"
	"cuelang.org/go/mod/module"

	"github.com/tenon-ml/tenon/stdlib"
)

// libraryRoot is the virtual folder of the embedded library. The loader requires a path
// of the operating system; the files come from an overlay, not from disk.
var libraryRoot = filepath.FromSlash("/" + stdlib.Module)

// registry serves the embedded library and leaves every other module to the
// registries that the user configured.
type registry struct {
	rest func() (modconfig.Registry, error)
	from string // what the user configured

	mu      sync.Mutex
	fetched map[string]module.Version // by folder
}

func newRegistry(env []string) *registry {
	from := "registry.cue.works"
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "CUE_REGISTRY="); ok && value != "" {
			from = value
		}
	}
	return &registry{from: from, fetched: map[string]module.Version{}, rest: sync.OnceValues(func() (modconfig.Registry, error) {
		return modconfig.NewRegistry(&modconfig.Config{Env: env, ClientType: "tenon"})
	})}
}

func (r *registry) ModFile(ctx context.Context, m module.Version) (*modfile.File, error) {
	if m.Path() != stdlib.Module {
		rest, err := r.rest()
		if err != nil {
			return nil, err
		}
		return rest.ModFile(ctx, m)
	}
	if err := checkVersion(m); err != nil {
		return nil, err
	}
	b, err := fs.ReadFile(stdlib.CUE(), "cue.mod/module.cue")
	if err != nil {
		return nil, err
	}
	return modfile.Parse(b, "cue.mod/module.cue")
}

func (r *registry) Fetch(ctx context.Context, m module.Version) (module.SourceLoc, error) {
	if m.Path() != stdlib.Module {
		rest, err := r.rest()
		if err != nil {
			return module.SourceLoc{}, err
		}
		loc, err := rest.Fetch(ctx, m)
		if root, ok := loc.FS.(module.OSRootFS); ok && err == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.fetched[filepath.Join(root.OSRoot(), filepath.FromSlash(loc.Dir))] = m
		}
		return loc, err
	}
	if err := checkVersion(m); err != nil {
		return module.SourceLoc{}, err
	}
	return module.SourceLoc{FS: libraryFS{stdlib.CUE()}, Dir: "."}, nil
}

// origin returns the module with which the folder of a package was fetched, and its
// version, or "". ([build.Instance.Root] is that of the system's module.)
func (r *registry) origin(dir string) (string, module.Version) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for d := dir; ; d = filepath.Dir(d) {
		if v, ok := r.fetched[d]; ok {
			return d, v
		}
		if d == filepath.Dir(d) {
			return "", module.Version{}
		}
	}
}

func (r *registry) ModuleVersions(ctx context.Context, path string) ([]string, error) {
	if path != stdlib.Module {
		rest, err := r.rest()
		if err != nil {
			return nil, err
		}
		return rest.ModuleVersions(ctx, path)
	}
	return []string{stdlib.Version}, nil
}

// carries begins the error about a version of the library that is not embedded.
const carries = "this tenon contains"

func checkVersion(m module.Version) error {
	if m.Version() == stdlib.Version {
		return nil
	}
	return fmt.Errorf(carries+" %s %s, but the system requires %s: set deps: %q: v: %q in cue.mod/module.cue",
		stdlib.Module, stdlib.Version, m.Version(), stdlib.Module, stdlib.Version)
}

type libraryFS struct{ fs.FS }

// OSRoot implements [module.OSRootFS].
func (libraryFS) OSRoot() string { return libraryRoot }

// libraryOverlay is the embedded library as the loader's overlay.
var libraryOverlay = sync.OnceValue(func() map[string]load.Source {
	overlay := map[string]load.Source{}
	err := fs.WalkDir(stdlib.CUE(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".cue" {
			return err
		}
		b, err := fs.ReadFile(stdlib.CUE(), p)
		if err != nil {
			return err
		}
		overlay[filepath.Join(libraryRoot, filepath.FromSlash(p))] = load.FromBytes(b)
		return nil
	})
	if err != nil {
		panic(err) // the files are embedded
	}
	return overlay
})
