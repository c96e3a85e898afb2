package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/stdlib"
)

func initCommand(a *app) *cobra.Command {
	var empty bool
	c := &cobra.Command{
		Use: "init [DIR]", Short: "Create a small system that runs, or set up an existing folder", Args: atMost(1, "one folder"),
		Long: `In an empty folder, creates a small system on real data that runs as it is. In a
folder with .cue files, makes it a CUE module that depends on the standard
library. Existing files are not overwritten. With --empty, the system has a name and
no entities.

It also puts the standard library into the cache of the stock cue command, so that
cue vet and CUE's language server resolve the same imports.`,
		Example: "  tenon init iris && cd iris && tenon apply\n  tenon init                set up the current folder\n  tenon init --empty churn  only a module and a system without entities",
		RunE: func(c *cobra.Command, args []string) error {
			dir := folder(args)
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			done, err := p.Init(c.Context(), empty)
			if done.Module != "" {
				fmt.Fprintf(a.stdout, "  %s now depends on %s %s\n", done.Module, stdlib.Module, stdlib.Version)
			}
			for _, path := range done.Wrote {
				fmt.Fprintf(a.stdout, "  wrote %s\n", path)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "  made %s available to cue vet and the language server\n", stdlib.Module)
			if done.Starter && !empty {
				cd := ""
				if dir != "." {
					cd = "cd " + shellQuote(dir) + " && "
				}
				fmt.Fprintf(a.stdout, "\nNext: %stenon plan, then tenon apply.\n", cd)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&empty, "empty", false, "create a system without entities and data")
	return c
}

func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r > 127 || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./+,:@%", r)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
