package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/internal/bundle"
)

func bundleCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "bundle", Short: "Make keys for bundles, publish bundles and check them",
		Long: `tenon export --format bundle writes a deployment as a folder that runs on a machine
without Tenon. These commands make the key that signs it, check a bundle, and publish
it to a channel: a folder, or a web server with its files, from which machines get
new bundles with tenon-serve pull.`,
		Example: `  tenon bundle key signing.pem
  tenon export api --format bundle --sign signing.pem
  tenon bundle verify api --key ed25519:...
  tenon bundle publish api channel --sign signing.pem`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unknown command %q for tenon bundle; see tenon bundle --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(bundleKeyCommand(a), bundleVerifyCommand(a), bundlePublishCommand(a))
	return c
}

// exactly wants n arguments.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return &usageError{fmt.Errorf("%s takes %s; see %s --help", c.CommandPath(), what, c.CommandPath())}
		}
		return nil
	}
}

func bundleKeyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "key FILE", Short: "Make a key that signs bundles", Args: exactly(1, "the file for the private key"),
		Long: `Makes a key of the kind ed25519. The private key is written to a file that only its
owner can read, in PEM; it signs and belongs to no machine that serves. The public key
is printed: machines compare bundles with it.`,
		Example: "  tenon bundle key signing.pem",
		RunE: func(_ *cobra.Command, args []string) error {
			public, err := bundle.NewKey(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, public)
			return err
		},
	}
}

func bundleVerifyCommand(a *app) *cobra.Command {
	var key string
	c := &cobra.Command{
		Use: "verify FOLDER", Short: "Compare a bundle with its digests and its signature", Args: exactly(1, "the folder of a bundle"),
		Long: `Compares the files of a bundle with the digests in its manifest, and the manifest with
its signature. Runs nothing of it.`,
		Example: "  tenon bundle verify api --key ed25519:...",
		RunE: func(_ *cobra.Command, args []string) error {
			var public bundle.Public
			var err error
			if key != "" {
				if public, err = bundle.ParsePublic(key); err != nil {
					return &usageError{err}
				}
			}
			says, err := bundle.Verified(args[0], public)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, says)
			return err
		},
	}
	c.Flags().StringVar(&key, "key", "", "public `KEY` that has to have signed it: its text or a file")
	return c
}

func bundlePublishCommand(a *app) *cobra.Command {
	var sign string
	c := &cobra.Command{
		Use: "publish FOLDER CHANNEL", Short: "Add a signed bundle to a channel", Args: exactly(2, "a bundle and the folder of a channel"),
		Long: `Copies a signed bundle to the folder of a channel, and makes it the newest one for its
platform. Each publication has a higher number than the one before, and machines do not
go back to a lower one: to return to an earlier bundle, publish it again.

A web server may serve the folder as it is.`,
		Example: "  tenon bundle publish api channel --sign signing.pem",
		RunE: func(c *cobra.Command, args []string) error {
			if sign == "" {
				return &usageError{errors.New("tenon bundle publish takes --sign KEY, the key that has signed the bundle")}
			}
			p, err := a.project(".")
			if err != nil {
				return err
			}
			key, err := p.PrivateKey(sign)
			if err != nil {
				return err
			}
			n, err := bundle.Publish(c.Context(), args[0], args[1], key)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s: %s is bundle %d\n", args[1], args[0], n)
			return err
		},
	}
	c.Flags().StringVar(&sign, "sign", "", "private `KEY` in a file, or in a variable as env:NAME")
	return c
}
