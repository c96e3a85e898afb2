package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/internal/diag"
)

// ImageOptions select which images to build, and on what.
type ImageOptions struct {
	Names []string // units and entities; none means all
	Base  string   // the base image; "" means that of the target
	Pull  bool     // ask registries again to resolve image names
	// Push is a repository to which the images are pushed, each under a tag made from the
	// unit's name, or "".
	Push string
}

// An Image is the image of a unit.
type Image struct {
	Unit   string        `json:"unit"`
	Digest v1.Hash       `json:"digest"`
	Layers []image.Layer `json:"layers"`
	// Pushed is the name, by digest, to pull it by.
	Pushed string `json:"-"`
}

// BuildImages builds the images of a system, and passes each to done.
func (p *Project) BuildImages(ctx context.Context, o ImageOptions, done func(Image) error) error {
	r, err := p.Compile(ctx)
	if err != nil {
		return err
	}
	units, err := unitsToBuild(r.System, unitNames(o.Names))
	if err != nil {
		return err
	}
	b := builder{
		Result: r, store: p.imagesOf(r.System.Target), pull: o.Pull, programs: p.set.Programs, pins: map[string]string{},
		base: cmp.Or(o.Base, r.System.Target.Base(), image.DefaultBase),
	}
	for _, u := range units {
		img, err := b.build(ctx, u, o.Push)
		if err == nil {
			err = done(img)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", u.ID, err)
		}
	}
	return nil
}

// ImportImage adds an archive to the image store under a name, and returns the name by
// digest.
func (p *Project) ImportImage(ctx context.Context, archive, name string) (string, error) {
	return p.images("").Import(ctx, archive, name)
}

// Images returns the images that were imported or fetched.
func (p *Project) Images() ([]image.Entry, error) { return p.images("").List() }

// A builder builds the images of a compiled system. It resolves every name once.
type builder struct {
	*compiler.Result
	store    *image.Store
	base     string
	pull     bool
	pins     map[string]string
	programs executors.Programs
}

// build builds the image of a unit, and pushes it to the repository, if there is one.
func (b *builder) build(ctx context.Context, u ir.Unit, repository string) (i Image, err error) {
	img, err := b.image(ctx, u)
	if err != nil {
		return i, err
	}
	if repository != "" {
		i.Pushed, err = b.store.Push(ctx, img, repository+":"+strings.ReplaceAll(u.ID, "/", "-"))
		return i, err
	}
	i.Unit = u.ID
	if i.Digest, err = img.Digest(); err != nil {
		return i, err
	}
	i.Layers, err = image.Layers(img)
	return i, err
}

func (b *builder) image(ctx context.Context, u ir.Unit) (v1.Image, error) {
	dir, err := os.MkdirTemp("", "tenon-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, f := range u.Code.Files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, b.Blobs[f.Digest], 0o644)); err != nil {
			return nil, err
		}
	}
	parts := image.PartsOf(u.Code, b.Blobs)
	parts.Code = os.DirFS(dir)
	if parts.Program, parts.Duck, err = b.programs.Of(ctx, u.Code); err != nil {
		return nil, err
	}
	recipe := image.RecipeFor(u, b.base, parts)
	if b.pins[recipe.Base] == "" {
		if b.pins[recipe.Base], err = b.store.Pin(ctx, recipe.Base, b.pull); err != nil {
			return nil, err
		}
	}
	recipe.Base = b.pins[recipe.Base]
	return b.store.Build(ctx, recipe)
}

// unitsToBuild returns the units that run a program, in display order.
func unitsToBuild(s *ir.System, names []string) ([]ir.Unit, error) {
	var units []ir.Unit
	var known []string
	for _, u := range s.Units {
		if u.Kind != ir.Record {
			units = append(units, u)
			known = append(known, u.ID, u.Entity)
		}
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("no unit or entity %s that runs as a program%s", n, hint(n, known))
		}
	}
	if len(names) > 0 {
		units = slices.DeleteFunc(units, func(u ir.Unit) bool { return !slices.Contains(names, u.ID) && !slices.Contains(names, u.Entity) })
	}
	order := Order(s.Units)
	slices.SortFunc(units, func(a, b ir.Unit) int { return order(a.ID, b.ID) })
	return units, nil
}

func hint(name string, known []string) string {
	slices.Sort(known)
	if h := diag.DidYouMean(name, slices.Compact(known)); h != "" {
		return ": " + h
	}
	return ""
}
