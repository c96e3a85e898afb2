package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/lang"
)

func fmtCommand(a *app) *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "fmt [PATH...]", Short: "Format the .cue files of a system",
		Long: `Formats .cue files in place, also those below a folder, and lists the files that it
changed. It never changes what a file means: a file for which that is not certain is
left unchanged, with an error.`,
		Example: "  tenon fmt\n  tenon fmt --check      change nothing, exit with 1 if a file is not formatted",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			changed := 0
			for _, root := range args {
				n, err := a.formatBelow(root, check)
				if err != nil {
					return err
				}
				changed += n
			}
			if check && changed > 0 {
				return errReported
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "change nothing; exit with 1 if a file is not formatted")
	return c
}

func (a *app) formatBelow(root string, check bool) (changed int, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == root:
			return fmt.Errorf("no such file or folder: %s", root)
		case err != nil:
			return fmt.Errorf("look into %s: %w", root, err)
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".cue":
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		out, err := lang.Format(path, src)
		if faults := (diag.List)(nil); errors.As(err, &faults) {
			return &project.SourceError{Faults: faults, Source: func(string) []byte { return src }}
		} else if err != nil {
			return err
		}
		if bytes.Equal(src, out) {
			return nil
		}
		changed++
		fmt.Fprintln(a.stdout, path)
		if check {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return writeWhole(path, out, info.Mode())
	})
	return changed, err
}

// writeWhole replaces a file completely, or leaves it unchanged.
func writeWhole(path string, b []byte, mode fs.FileMode) error {
	if err := files.Write(path, b, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
