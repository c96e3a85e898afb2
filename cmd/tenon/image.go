package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func imageCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "image", Short: "Build, push, import and list the images that units run in",
		Long: `Executors that run containers build the image of a unit when they need it: a base,
the locked Python environment and the code, one layer each. These commands do the
same by hand. They need no daemon, and equal systems give equal digests.

Images are stored in the cache folder, as an OCI layout.`,
		Example: `  tenon image build
  tenon image push registry.example.com/team/churn
  tenon image import rootfs.tar --name localhost/tenon/python:3.11
  tenon image list`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unknown command %q for tenon image; see tenon image --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(imageBuildCommand(a), imagePushCommand(a), imageImportCommand(a), imageListCommand(a))
	return c
}

// imageFlags adds the flags of commands that build images.
func imageFlags(a *app, c *cobra.Command, dir *string, o *project.ImageOptions) {
	a.tagFlag(c)
	c.Flags().StringVarP(dir, "dir", "C", ".", "the system's `FOLDER`")
	c.Flags().StringVar(&o.Base, "base", "", "base `IMAGE` (default that of the target)")
	c.Flags().BoolVar(&o.Pull, "pull", false, "resolve the names of images again")
}

func imageBuildCommand(a *app) *cobra.Command {
	var o project.ImageOptions
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use: "build [ENTITY | UNIT]...", Short: "Build the images of a system, or of some of its units",
		Long: `Builds the images of units, by default of all, and prints their digests and layers.
Existing layers are reused.`,
		Example: "  tenon image build\n  tenon image build models/late --base localhost/tenon/python:3.11",
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			o.Names = args
			all := []project.Image{}
			err = p.BuildImages(c.Context(), o, func(i project.Image) error {
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
	imageFlags(a, c, &dir, &o)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func imagePushCommand(a *app) *cobra.Command {
	var o project.ImageOptions
	var dir string
	c := &cobra.Command{
		Use: "push REPOSITORY [ENTITY | UNIT]...", Short: "Build images and push them to a registry",
		Long: `Builds the images of units, by default of all, and pushes each to a repository under
a tag made of the name of the unit. Prints the digests for pulling. Layers that the
registry already has are not sent.

Credentials come from docker login.`,
		Example: "  tenon image push registry.example.com/team/churn\n  tenon image push localhost:5000/churn models/late",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{errors.New("tenon image push takes a repository, such as registry.example.com/team/churn; see tenon image push --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			o.Push, o.Names = args[0], args[1:]
			return p.BuildImages(c.Context(), o, func(i project.Image) error {
				_, err := fmt.Fprintln(a.stdout, i.Pushed)
				return err
			})
		},
	}
	imageFlags(a, c, &dir, &o)
	return c
}

func imageImportCommand(a *app) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "import ARCHIVE", Short: "Import an image or a root filesystem",
		Long: `Imports an OCI layout as a tar file, the output of docker save, or a tar file of a
root filesystem; each may be compressed. From then on, this name is resolved
locally before any registry.`,
		Example: "  tenon image import rootfs.tar --name localhost/tenon/python:3.11",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || name == "" {
				return &usageError{errors.New("tenon image import takes one archive and --name NAME; see tenon image import --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.project(".")
			if err != nil {
				return err
			}
			pinned, err := p.ImportImage(c.Context(), args[0], name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, pinned)
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "", "`NAME` of the image, such as localhost/tenon/python:3.11")
	return c
}

func imageListCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List imported and fetched images", Args: atMost(0, "no argument"),
		Long:    "Lists the images that were imported, and those that were fetched from a registry.",
		Example: "  tenon image list\n  tenon image list --json",
		RunE: func(*cobra.Command, []string) error {
			p, err := a.project(".")
			if err != nil {
				return err
			}
			entries, err := p.Images()
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(entries)
			}
			if len(entries) == 0 {
				_, err := fmt.Fprintln(a.stdout, "No images have been imported or fetched.")
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
				fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", name, artifact.Short(e.Digest.String()), bytesOf(e.Size), e.Layers, resolved)
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printImage(i project.Image) error {
	t := table(a.stdout)
	fmt.Fprintf(t, "%s  %s\n", i.Unit, i.Digest)
	for _, l := range i.Layers {
		made := ""
		if l.Made {
			made = "\tmade"
		}
		fmt.Fprintf(t, "  %s\t%s\t%s%s\n", l.What, artifact.Short(l.Digest.String()), bytesOf(l.Size), made)
	}
	return t.Flush()
}
