package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/lang/diag"
)

func imageCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "image", Short: "Build, push, import and list the images that units run in",
		Long: `Executors that run containers build the image of a unit when they need it: a base,
the locked Python environment, the unit's code, each a layer of its own. These
commands do the same by hand. No daemon is needed, and equal systems give equal
digests.

Images are kept in the cache folder, as an OCI layout.`,
		Example: `  tenon image build
  tenon image push registry.example.com/team/churn
  tenon image import rootfs.tar --name localhost/tenon/python:3.11
  tenon image list`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("there is no command image %q: see tenon image --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(imageBuildCommand(a), imagePushCommand(a), imageImportCommand(a), imageListCommand(a))
	return c
}

// A buildOf says what is built.
type buildOf struct {
	dir, base string
	pull      bool
}

func (o *buildOf) flags(a *app, c *cobra.Command) {
	a.tagFlag(c)
	c.Flags().StringVarP(&o.dir, "dir", "C", ".", "the system's `FOLDER`")
	c.Flags().StringVar(&o.base, "base", "", "put units on this `IMAGE` (default that of the target)")
	c.Flags().BoolVar(&o.pull, "pull", false, "ask registries again which images names stand for")
}

func imageBuildCommand(a *app) *cobra.Command {
	var o buildOf
	var asJSON bool
	c := &cobra.Command{
		Use: "build [ENTITY | UNIT]...", Short: "Build the images of a system, or of some of its units",
		Long: `Builds the images of units, by default of all, and prints for each its digest and
its layers. What was built before is found again.`,
		Example: "  tenon image build\n  tenon image build models/late --base localhost/tenon/python:3.11",
		RunE: func(c *cobra.Command, args []string) error {
			all := []unitImage{}
			err := a.buildImages(c.Context(), o, args, func(_ *image.Store, u ir.Unit, img v1.Image) error {
				i, err := imageOf(u, img)
				if err != nil {
					return err
				}
				all = append(all, i)
				if asJSON {
					return nil
				}
				return a.printImage(i)
			})
			if err == nil && asJSON {
				err = a.printJSON(all)
			}
			return err
		},
	}
	o.flags(a, c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func imagePushCommand(a *app) *cobra.Command {
	var o buildOf
	c := &cobra.Command{
		Use: "push REPOSITORY [ENTITY | UNIT]...", Short: "Build images and push them to a registry",
		Long: `Builds the images of units, by default of all, and pushes them to a repository,
each under a tag that is made of the unit's name. Prints the digests under which
they can be pulled. Layers that the registry has are not sent.

Credentials are those of docker login.`,
		Example: "  tenon image push registry.example.com/team/churn\n  tenon image push localhost:5000/churn models/late",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{errors.New("tenon image push takes a repository, such as registry.example.com/team/churn; see tenon image push --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return a.buildImages(c.Context(), o, args[1:], func(store *image.Store, u ir.Unit, img v1.Image) error {
				pinned, err := store.Push(c.Context(), img, args[0]+":"+strings.ReplaceAll(u.ID, "/", "-"))
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.stdout, pinned)
				return err
			})
		},
	}
	o.flags(a, c)
	return c
}

func imageImportCommand(a *app) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "import ARCHIVE", Short: "Take in an image, or a root filesystem as one",
		Long: `Takes in an OCI layout as a tar, what docker save wrote, or a tar of a root
filesystem; any of them may be compressed. From then on its name is looked for
here before a registry is asked.`,
		Example: "  tenon image import rootfs.tar --name localhost/tenon/python:3.11",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || name == "" {
				return &usageError{errors.New("tenon image import takes one archive and --name NAME; see tenon image import --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			pinned, err := a.images(ir.Target{}).Import(c.Context(), args[0], name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, pinned)
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "", "give it this `NAME`, such as localhost/tenon/python:3.11")
	return c
}

func imageListCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List images that were imported or fetched", Args: atMost(0, "no argument"),
		Long:    "Lists the images that were imported, and those that were fetched from a registry.",
		Example: "  tenon image list\n  tenon image list --json",
		RunE: func(*cobra.Command, []string) error {
			entries, err := a.images(ir.Target{}).List()
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(entries)
			}
			if len(entries) == 0 {
				_, err := fmt.Fprintln(a.stdout, "No image was imported or fetched yet.")
				return err
			}
			t := table(a.stdout)
			fmt.Fprintln(t, "NAME\tDIGEST\tSIZE\tLAYERS\tRESOLVED")
			for _, e := range entries {
				name, _, _ := strings.Cut(e.Name, "@")
				resolved := ""
				switch {
				case name == e.Name:
					resolved = "imported"
				case !e.Resolved.IsZero():
					resolved = e.Resolved.Local().Format(time.DateTime)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", name, short(e.Digest.String()), bytesOf(e.Size), e.Layers, resolved)
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// A unitImage is what is told of an image that was built.
type unitImage struct {
	Unit   string        `json:"unit"`
	Digest v1.Hash       `json:"digest"`
	Layers []image.Layer `json:"layers"`
}

func imageOf(u ir.Unit, img v1.Image) (unitImage, error) {
	h, err := img.Digest()
	if err != nil {
		return unitImage{}, err
	}
	layers, err := image.Layers(img)
	return unitImage{Unit: u.ID, Digest: h, Layers: layers}, err
}

func (a *app) printImage(i unitImage) error {
	t := table(a.stdout)
	fmt.Fprintf(t, "%s  %s\n", i.Unit, i.Digest)
	for _, l := range i.Layers {
		made := ""
		if l.Made {
			made = "\tmade"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s%s\n", l.What, short(l.Digest.String()), bytesOf(l.Size), made)
	}
	return t.Flush()
}

// buildImages builds the images of the units that are named, or of all, and hands
// each to f, with the store that reaches the registries of the system's target.
func (a *app) buildImages(ctx context.Context, o buildOf, names []string, f func(*image.Store, ir.Unit, v1.Image) error) error {
	r, err := a.compile(ctx, o.dir)
	if err != nil {
		return err
	}
	units, err := unitsToBuild(r.System, unitNames(names))
	if err != nil {
		return err
	}
	store, base := a.images(r.System.Target), cmp.Or(o.base, r.System.Target.Base(), image.DefaultBase)
	pins := map[string]string{}
	for _, u := range units {
		img, err := a.buildImage(ctx, store, r, u, base, o.pull, pins)
		if err != nil {
			return fmt.Errorf("%s: %w", u.ID, err)
		}
		if err := f(store, u, img); err != nil {
			return fmt.Errorf("%s: %w", u.ID, err)
		}
	}
	return nil
}

// buildImage builds the image of a unit. Every name is pinned once.
func (a *app) buildImage(ctx context.Context, store *image.Store, r *compiler.Result, u ir.Unit, base string, pull bool, pins map[string]string) (v1.Image, error) {
	dir, err := os.MkdirTemp("", "tenon-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, f := range u.Code.Files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, r.Blobs[f.Digest], 0o644)); err != nil {
			return nil, err
		}
	}
	duck := ""
	if u.Code.Runtime == ir.Builtin {
		if duck, err = a.duck.Program(ctx); err != nil {
			return nil, err
		}
	}
	recipe := image.RecipeFor(u, base, os.DirFS(dir), r.Blobs[u.Code.Lock], duck)
	if pins[recipe.Base] == "" {
		if pins[recipe.Base], err = store.Pin(ctx, recipe.Base, pull); err != nil {
			return nil, err
		}
	}
	recipe.Base = pins[recipe.Base]
	return store.Build(ctx, recipe)
}

// unitsToBuild are the units that run as a program, in the order of the list that
// is shown everywhere.
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
			return nil, fmt.Errorf("no unit or entity %s runs as a program here%s", n, hint(n, known))
		}
	}
	if len(names) > 0 {
		units = slices.DeleteFunc(units, func(u ir.Unit) bool { return !slices.Contains(names, u.ID) && !slices.Contains(names, u.Entity) })
	}
	slices.SortFunc(units, func(a, b ir.Unit) int { return inOrder(a.ID, b.ID) })
	return units, nil
}

func hint(name string, known []string) string {
	slices.Sort(known)
	if h := diag.DidYouMean(name, slices.Compact(known)); h != "" {
		return ": " + h
	}
	return ""
}
