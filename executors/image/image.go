package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/fingerprint"
)

// DefaultBase is the base of units that name no other.
const DefaultBase = "python:3.11-slim-bookworm"

// Paths in an image.
const (
	EnvDir    = "/opt/tenon/env"         // the Python environment of the unit; its interpreter is bin/python
	CodeDir   = "/tenon/code"            // the unit's files
	TenonPath = "/tenon/bin/tenon"       // the tenon binary
	DuckPath  = "/tenon/bin/tenon-duck"  // the program that runs built-in components
	servePath = "/tenon/bin/tenon-serve" // the program of services that answer predictions
	podPath   = pod.Program              // the program of a pod
)

// Options configure a store: where it is and how it reaches registries.
type Options struct {
	Dir   string // root of the store; created if needed
	Hosts string // folder with HOST/hosts.toml in containerd's format; "" is /etc/containerd/certs.d
	// Credentials returns the user and the secret for a host; or "" and a token; or
	// nothing. Nil means the user's docker configuration.
	Credentials func(host string) (user, secret string, err error)
	UV          string    // path or name of uv, see executors/pyenv
	Log         io.Writer // receives slow work, one line each; may be nil
}

// A Store builds, fetches and stores images. Its methods are safe for concurrent use,
// also by several processes.
type Store struct {
	opts Options

	mu    sync.Mutex
	hosts map[string][]docker.RegistryHost
	given map[string]bool  // hosts that credentials were sent to
	why   map[string]error // hosts without credentials, and why there are none
}

// New returns a Store. It touches neither disk nor network yet.
func New(o Options) *Store {
	if o.Hosts == "" {
		o.Hosts = "/etc/containerd/certs.d"
	}
	if o.Credentials == nil {
		o.Credentials = DockerCredentials
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return &Store{opts: o, hosts: map[string][]docker.RegistryHost{}, given: map[string]bool{}, why: map[string]error{}}
}

// A Recipe lists the parts of an image. They are added to the base in order; empty
// parts are left out.
type Recipe struct {
	Base string // pinned
	Lock []byte // text of a lock, see executors/pyenv
	// Environments are texts of the locks of further environments, by their digests. Each is at
	// its own path, see [Interpreter].
	Environments map[string][]byte
	Python       string // version of Python, if the image is to have an environment: "3.11"
	Code         fs.FS  // the unit's files
	Tenon        string // path of a tenon binary, if tenon itself is to run in the image
	Duck         string // path of a tenon-duck binary, if the unit or tenon needs it
	Serve        string // path of a tenon-serve binary, if the unit needs it
	Pod          string // path of a tenon-pod binary, if the image is to run in a pod
	// Bare removes what the base starts by itself, for a platform that passes its command on to
	// that instead of running it.
	Bare bool
	// Entry is what the image starts, with what a platform passes on to it, instead of what the
	// base starts: for a platform that takes no command.
	Entry []string
}

// Parts are what the recipe of a unit needs besides the unit itself.
type Parts struct {
	// Code are the unit's files. It is nil if they reach the unit in another way; the image then
	// does not depend on them.
	Code fs.FS
	// Lock is the text of the unit's lock, and Environments are those of further ones, by digest.
	Lock         []byte
	Environments map[string][]byte
	Program      string // path of the program of Tenon that runs the unit, if one does
	Duck         string // path of tenon-duck, if the unit starts that itself
}

// PartsOf returns parts with the locks of code, whose texts are blobs.
func PartsOf(c ir.Code, blobs map[string][]byte) Parts {
	p := Parts{Lock: blobs[c.Lock], Environments: map[string][]byte{}}
	for _, digest := range c.Environments {
		p.Environments[digest] = blobs[digest]
	}
	return p
}

// RecipeFor returns the recipe of a unit's image. base is the base of the target.
func RecipeFor(u ir.Unit, base string, p Parts) Recipe {
	if u.Code.Image != "" {
		base = u.Code.Image
	}
	r := Recipe{Base: base, Duck: p.Duck}
	switch u.Code.Runtime {
	case ir.Builtin:
		r.Duck = p.Program
		return r
	case ir.Plane:
		r.Serve = p.Program
	case ir.PlaneDuckDB:
		r.Duck = p.Program
	}
	if len(u.Code.Files) > 0 {
		r.Code = p.Code
	}
	r.Environments = p.Environments
	if r.Lock, r.Python = p.Lock, u.Code.Python; r.Python == "" && p.Lock != nil {
		r.Python = pyenv.PythonVersion
	}
	return r
}

// Name returns a short name of a unit's image on a pinned base. Units with equal images
// have equal names. With code, the unit's files count as part of the image.
func Name(u ir.Unit, on string, code bool) string {
	parts := append([]string{"unit", on, string(u.Code.Runtime), u.Code.Lock, u.Code.Python, u.Code.DuckDB}, u.Code.Environments...)
	if code && u.Code.Runtime != ir.Builtin {
		for _, f := range u.Code.Files {
			parts = append(parts, f.Path, f.Digest)
		}
	}
	return "image " + key(parts...)[:8]
}

// epoch is the modification time of everything in a layer. Zip archives of Python
// modules cannot store a time before 1980.
var epoch = time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC)

// Build builds the image of a recipe and reuses existing layers. The context also
// bounds later reads of the image's layers.
func (s *Store) Build(ctx context.Context, r Recipe) (v1.Image, error) {
	base, err := s.open(ctx, r.Base)
	if err != nil {
		return nil, err
	}
	config, err := base.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the image %s: %w", r.Base, err)
	}
	if r.Python == "" && (r.Lock != nil || len(r.Environments) > 0) {
		r.Python = pyenv.PythonVersion
	}
	type piece struct {
		what   string
		wanted bool
		make   func() (layer, bool, error)
	}
	environment := func(lock []byte, at string) func() (layer, bool, error) {
		return func() (layer, bool, error) { return s.environment(ctx, r, lock, at, base, config.Architecture) }
	}
	all := []piece{{"environment", r.Python != "", environment(r.Lock, EnvDir)}}
	for _, digest := range slices.Sorted(maps.Keys(r.Environments)) {
		all = append(all, piece{"environment", true, environment(r.Environments[digest], furtherDir(digest))})
	}
	all = append(all, []piece{
		{"tenon", r.Tenon != "", func() (layer, bool, error) { return s.program(ctx, "tenon", r.Tenon, TenonPath) }},
		{"duck", r.Duck != "", func() (layer, bool, error) { return s.program(ctx, "duck", r.Duck, DuckPath) }},
		{"serve", r.Serve != "", func() (layer, bool, error) { return s.program(ctx, "serve", r.Serve, servePath) }},
		{"pod", r.Pod != "", func() (layer, bool, error) { return s.program(ctx, "pod", r.Pod, podPath) }},
		{"code", r.Code != nil, func() (layer, bool, error) { return s.code(ctx, r.Code) }},
	}...)
	var parts []part
	for _, p := range all {
		if !p.wanted {
			continue
		}
		l, made, err := p.make()
		if err != nil {
			return nil, fmt.Errorf("make the %s layer: %w", p.what, err)
		}
		parts = append(parts, part{p.what, l, made})
	}
	if len(parts) == 0 {
		return base, nil
	}
	return s.assemble(ctx, base, parts, r.Bare || len(r.Entry) > 0, r.Entry)
}

// environment builds the layer of a Python environment at a path.
func (s *Store) environment(ctx context.Context, r Recipe, lock []byte, at string, base *stored, arch string) (layer, bool, error) {
	python, _, err := s.python(ctx, r.Base, base, r.Python)
	if err != nil {
		return layer{}, false, err
	}
	parts := []string{"environment", string(lock), r.Python, python, arch}
	if at != EnvDir { // whose layers earlier versions have made
		parts = append(parts, at)
	}
	return s.layer(ctx, key(parts...), "building a Python environment", func(work string, t tarWriter) error {
		env := pyenv.New(pyenv.Options{Dir: filepath.Join(s.opts.Dir, "python"), UV: s.opts.UV, Python: r.Python})
		if err := env.Lay(ctx, lock, pyenv.Tree{Dir: work, At: at, Python: python, Arch: arch}); err != nil {
			return err
		}
		if err := t.folder(path.Dir(at)); err != nil {
			return err
		}
		return t.tree(at, os.DirFS(work), normalMode)
	})
}

// program builds the layer of a binary. A binary is large, so its file metadata says
// whether it has changed, unless it changed just now.
func (s *Store) program(ctx context.Context, what, name, at string) (layer, bool, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return layer{}, false, err
	}
	begin := time.Now()
	looks := fingerprint.LooksOf(name)
	var digest string
	digestKey, settled := key("file", name, looks.String()), looks.Settled(begin)
	if !settled || !s.found(digestKey, &digest) {
		if digest, err = files.SHA256(name); err != nil {
			return layer{}, false, err
		}
		if settled {
			err = s.save(digestKey, digest)
		}
		if err != nil {
			return layer{}, false, err
		}
	}
	return s.layer(ctx, key(what, digest), "packing "+path.Base(at), func(_ string, t tarWriter) error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		bin := path.Dir(at)
		if err := errors.Join(t.folder(path.Dir(bin)), t.folder(bin)); err != nil {
			return err
		}
		return t.file(at, 0o755, f)
	})
}

// code builds the layer of a unit's files.
func (s *Store) code(ctx context.Context, tree fs.FS) (layer, bool, error) {
	list := []string{"code"}
	err := files.Each(tree, func(name string, _ fs.DirEntry) error {
		b, err := fs.ReadFile(tree, name)
		list = append(list, name, ir.Sum(b))
		return err
	})
	if err != nil {
		return layer{}, false, err
	}
	return s.layer(ctx, key(list...), "", func(_ string, t tarWriter) error {
		if err := t.folder(path.Dir(CodeDir)); err != nil {
			return err
		}
		return t.tree(CodeDir, tree, func(fs.FileMode) fs.FileMode { return 0o555 })
	})
}

// A part is a layer, what it contains, and whether it was built just now.
type part struct {
	what string
	layer
	made bool
}

// assemble adds layers to a base. The base may use docker's media types; the image uses
// those of OCI. A bare image starts entry instead of what the base starts.
func (s *Store) assemble(ctx context.Context, base *stored, parts []part, bare bool, entry []string) (v1.Image, error) {
	m, err := base.Manifest()
	if err != nil {
		return nil, err
	}
	c, err := base.ConfigFile()
	if err != nil {
		return nil, err
	}
	manifest, config := m.DeepCopy(), c.DeepCopy()
	if len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		return nil, fmt.Errorf("the image %s is damaged: %d layers but digests of %d", base.ref, len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	for i := range manifest.Layers {
		manifest.Layers[i].MediaType = ociLayer(manifest.Layers[i].MediaType)
	}
	if !historyFits(config.History, len(manifest.Layers)) {
		config.History = slices.Repeat([]v1.History{{Created: v1.Time{Time: epoch}, CreatedBy: "base"}}, len(manifest.Layers))
	}
	for _, p := range parts {
		manifest.Layers = append(manifest.Layers, v1.Descriptor{MediaType: types.OCILayerZStd, Size: p.Size, Digest: p.Digest})
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, p.DiffID)
		config.History = append(config.History, v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "tenon: " + p.what})
	}
	if bare {
		config.Config.Entrypoint, config.Config.Cmd = entry, nil
	}
	config.Created = v1.Time{Time: epoch}
	manifest.Annotations = nil
	img, err := s.image(ctx, base.ref, manifest, config)
	if err != nil {
		return nil, err
	}
	return &built{Image: img, parts: parts}, nil
}

// historyFits reports whether a history describes exactly that many layers.
func historyFits(history []v1.History, layers int) bool {
	for _, h := range history {
		if !h.EmptyLayer {
			layers--
		}
	}
	return layers == 0
}

// ociLayer returns OCI's name of a layer's media type.
func ociLayer(t types.MediaType) types.MediaType {
	switch t {
	case types.DockerLayer:
		return types.OCILayer
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer
	case types.DockerForeignLayer:
		return types.OCIRestrictedLayer
	}
	return t
}

// A built image knows the contents of its layers.
type built struct {
	v1.Image
	parts []part
}

// A Layer is a layer of an image.
type Layer struct {
	What   string  `json:"what"` // "base", "environment", "tenon", "duck", "pod", "code"
	Digest v1.Hash `json:"digest"`
	Size   int64   `json:"size"` // compressed
	Made   bool    `json:"made"` // by this Build; false if it was reused
}

// Layers lists an image's layers, from the base up. For images that Build did not
// return, all layers count as base.
func Layers(img v1.Image) ([]Layer, error) {
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	var out []Layer
	for _, d := range m.Layers {
		out = append(out, Layer{What: "base", Digest: d.Digest, Size: d.Size})
	}
	if b, ok := img.(*built); ok {
		for i, p := range b.parts {
			l := &out[len(out)-len(b.parts)+i]
			l.What, l.Made = p.what, p.made
		}
	}
	return out, nil
}

// key derives a name from the parts that something is built of. Raise the version when
// the construction of layers changes.
func key(parts ...string) string {
	h := sha256.New()
	fmt.Fprintf(h, "image 1\n")
	for _, p := range parts {
		fmt.Fprintf(h, "%d %s\n", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// furtherDir is the folder of a further environment, by the digest of its lock.
func furtherDir(digest string) string {
	name := strings.TrimPrefix(digest, "sha256:")
	return EnvDir + "-" + name[:min(16, len(name))]
}

// Interpreter is the path of the interpreter of a further environment, by the digest of its lock.
func Interpreter(digest string) string { return path.Join(furtherDir(digest), "bin", "python") }

// Interpreters are those of further environments, by the digests of their locks, or nil if there
// are none.
func Interpreters(digests []string) map[string]string {
	if len(digests) == 0 {
		return nil
	}
	all := map[string]string{}
	for _, digest := range digests {
		all[digest] = Interpreter(digest)
	}
	return all
}

// Command returns the program of a unit and its arguments inside the image of a
// [Recipe].
func Command(c ir.Code) []string {
	switch c.Runtime {
	case ir.Builtin:
		return []string{DuckPath, "step"}
	case ir.Python:
		return append([]string{path.Join(EnvDir, "bin", "python")}, c.Command...)
	case ir.Plane:
		return append([]string{servePath, path.Join(EnvDir, "bin", "python")}, c.Command...)
	case ir.PlaneDuckDB:
		return append([]string{DuckPath, "plane", path.Join(EnvDir, "bin", "python")}, c.Command...)
	}
	return c.Command
}
