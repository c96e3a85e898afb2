package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge/keys"
)

func keyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "key", Short: "Make a key for a caller of a deployment",
		Long: `A serve.#HTTP with auth: keys knows its callers by keys. It has a list with the hash of
each key, so that whoever reads the list cannot ask the service.`,
		Example: "  tenon key new mobile\n  tenon key new mobile --scopes predict,explain --to /etc/api/keys",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unknown command %q for tenon key; see tenon key --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(keyNewCommand(a))
	return c
}

// A newKey is what tenon key new prints as JSON.
type newKey struct {
	Key  string `json:"key"`
	Line string `json:"line"` // of the list
}

func keyNewCommand(a *app) *cobra.Command {
	var asJSON bool
	var to string
	scopes := "predict"
	c := &cobra.Command{
		Use: "new NAME", Short: "Make a key, and the line of the list for it",
		Long: `Makes a key of 256 random bits, which the caller sends as "Authorization: Bearer KEY" or
"X-API-Key: KEY", and prints the line for it in the list that auth: keys names. The key
is stored nowhere. --to appends the line to the list; a service that runs reads it again
within seconds.

A caller may have several keys. To replace one, add another, and remove the line of the
former once nobody sends it.`,
		Example: "  tenon key new mobile\n  tenon key new mobile --scopes predict,explain --to /etc/api/keys",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{errors.New("tenon key new takes the name of a caller; see tenon key new --help")}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			may, err := keys.ParseScopes(strings.Split(scopes, ","))
			if err != nil {
				return &usageError{fmt.Errorf("--scopes: %w", err)}
			}
			key := keys.New()
			line, err := keys.Line(args[0], key, may)
			if err != nil {
				return &usageError{err}
			}
			if to != "" {
				if err := addToList(to, line); err != nil {
					return err
				}
			}
			if asJSON {
				return a.printJSON(newKey{key, line})
			}
			fmt.Fprintf(a.stdout, "key   %s\nline  %s\n", key, line)
			if to != "" {
				fmt.Fprintf(a.stdout, "The line is in %s.\n", to)
			}
			_, err = fmt.Fprintf(a.stdout, "Give the key to %s: it is not shown again.\n", args[0])
			return err
		},
	}
	c.Flags().StringVar(&scopes, "scopes", scopes, "what the caller may ask: `SCOPES` of "+strings.Join(keys.Names, ", ")+", separated by commas")
	c.Flags().StringVar(&to, "to", "", "append the line to the list in `FILE`")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// addToList appends a line to a list, which it refuses to change if it is none.
func addToList(path, line string) error {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read the list of keys: %w", err)
	}
	if _, err := keys.Read(b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		line = "\n" + line
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("write the list of keys: %w", err)
	}
	_, err = f.WriteString(line + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the list of keys: %w", err)
	}
	return nil
}
