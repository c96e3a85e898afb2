package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/tenon-ml/tenon/internal/bundle"
	"github.com/tenon-ml/tenon/internal/lambda"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/serve/plane"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// bundleCommands work on a bundle: by default the one that this program is in.
var bundleCommands = map[string]func(args []string) error{
	"serve": serveBundle, "selftest": selftest, "verify": verify, "pull": pull, "lambda": runLambda, "probe": probe,
}

// flags returns the flags of a command, whose help says what it does.
func flags(name, arguments, does string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "tenon-serve %s %s\n\n%s\n\n", name, arguments, does)
		f.PrintDefaults()
	}
	return f
}

// parsed parses flags, which may follow arguments, and returns the arguments.
func parsed(f *flag.FlagSet, args []string, most int) ([]string, error) {
	var rest []string
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		if args = f.Args(); len(args) == 0 {
			break
		}
		rest, args = append(rest, args[0]), args[1:]
	}
	if len(rest) > most {
		return nil, fmt.Errorf("tenon-serve %s takes at most %d arguments; see tenon-serve %s --help", f.Name(), most, f.Name())
	}
	return rest, nil
}

// here is the folder of this program.
func here() string {
	self, err := os.Executable()
	if err != nil {
		return "."
	}
	return filepath.Dir(self)
}

// open reads the bundle in a folder and compares all files with the digests of its manifest.
func open(dir string, key bundle.Public) (*step.Step, *bundle.Manifest, string, error) {
	m, digest, err := bundle.Read(dir, key)
	if err != nil {
		return nil, nil, "", err
	}
	if err := m.Compare(dir); err != nil {
		return nil, nil, "", err
	}
	s, err := unbundle(dir, m.Code)
	if err != nil {
		return nil, nil, "", err
	}
	s.Instance = digest
	return s, m, digest, nil
}

// unbundle reads the service of a bundle, which has to be made for this program.
func unbundle(dir, code string) (*step.Step, error) {
	if code != stdlib.Code() {
		return nil, fmt.Errorf("the bundle was made for tenon-serve %s, but this one is %s: export it again, with a program that was built together with tenon", code, stdlib.Code())
	}
	s, err := plane.Unbundle(dir)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func signals() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
}

func serveBundle(args []string) error {
	f := flags("serve", "[--host HOST] [--port PORT]", "Serves a bundle. Its files are compared with the digests of its manifest before.")
	dir := f.String("bundle", here(), "`FOLDER` of the bundle")
	host := f.String("host", os.Getenv("TENON_HOST"), "`ADDRESS` to listen on, also $TENON_HOST (default: that of the deployment)")
	port := f.String("port", cmp.Or(os.Getenv("TENON_PORT"), os.Getenv("PORT")), "`PORT` to listen on, also $TENON_PORT or $PORT (default: that of the deployment)")
	kept := f.String("kept", os.Getenv("TENON_KEPT"), "`FOLDER` for the log of requests, also $TENON_KEPT (default: requests are not logged)")
	if _, err := parsed(f, args, 0); err != nil {
		return err
	}
	s, _, _, err := open(*dir, nil)
	if err != nil {
		return err
	}
	s.Endpoint.Host = cmp.Or(*host, s.Endpoint.Host)
	if *port != "" {
		if s.Endpoint.Port, err = strconv.Atoi(*port); err != nil || s.Endpoint.Port < 1 || s.Endpoint.Port > 65535 {
			return fmt.Errorf("%q is no port", *port)
		}
	}
	if s.Kept = *kept; s.Kept == "" {
		had, err := plane.WithoutParams(s, "log")
		if err != nil {
			return err
		}
		if len(had) > 0 {
			fmt.Fprintln(os.Stderr, "note: requests are not logged: give --kept FOLDER")
		}
	} else if s.Kept, err = filepath.Abs(s.Kept); err != nil {
		return err
	}
	return plane.Run(context.Background(), s, nil)
}

func selftest(args []string) error {
	f := flags("selftest", "[--bundle FOLDER]", "Compares the files of a bundle with their digests, and computes rows of training as the service does.\nFeatures and predictions have to be those of training: to the last bit for trees.")
	dir := f.String("bundle", here(), "`FOLDER` of the bundle")
	if _, err := parsed(f, args, 0); err != nil {
		return err
	}
	s, m, _, err := open(*dir, nil)
	if err != nil {
		return err
	}
	ctx, stop := signals()
	defer stop()
	found, err := plane.Selftest(ctx, s, *dir)
	if err != nil {
		return fmt.Errorf("selftest of %s: %w", m.Name, err)
	}
	says := fmt.Sprintf("selftest of %s on %s/%s: ", m.Name, runtime.GOOS, runtime.GOARCH)
	if found.Rows > 0 {
		fmt.Printf("%s%d of %d rows have the features and the prediction of training\n", says, found.Equal, found.Rows)
		says = ""
	}
	fmt.Printf("%s%d predictions of the model are those of Python\n", says, found.Checked)
	return nil
}

func verify(args []string) error {
	f := flags("verify", "[FOLDER] [--key KEY]", "Compares the files of a bundle with the digests of its manifest, and the manifest with its signature.")
	public := f.String("key", "", "public `KEY` that has to have signed it: its text or a file")
	rest, err := parsed(f, args, 1)
	if err != nil {
		return err
	}
	dir := here()
	if len(rest) > 0 {
		dir = rest[0]
	}
	var key bundle.Public
	if *public != "" {
		if key, err = bundle.ParsePublic(*public); err != nil {
			return err
		}
	}
	said, err := bundle.Verified(dir, key)
	if err == nil {
		fmt.Println(said)
	}
	return err
}

// runLambda answers the events of AWS Lambda. The time of a cold start counts, and AWS has
// compared the digest of the archive: files are not compared again.
func runLambda(args []string) error {
	f := flags("lambda", "", "Answers events of AWS Lambda: requests of function URLs and of API Gateway, and direct invocations\nwhose payload is that of /predict.")
	dir := f.String("bundle", here(), "`FOLDER` of the bundle")
	if _, err := parsed(f, args, 0); err != nil {
		return err
	}
	ctx, stop := signals()
	defer stop()
	return lambda.Run(ctx, func(ctx context.Context) (http.Handler, error) {
		m, digest, err := bundle.Read(*dir, nil)
		if err != nil {
			return nil, err
		}
		s, err := unbundle(*dir, m.Code)
		if err != nil {
			return nil, err
		}
		s.Instance = digest
		return plane.Handler(ctx, s)
	}, "/predict", plane.AsksModel)
}

// writeBundle is asked by tenon.
func writeBundle() error {
	var q bundle.Question
	return asked(&q, func(ctx context.Context) error {
		a, err := plane.Bundle(ctx, q)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(a)
	})
}

// onBundle does a command on a bundle, if args are one.
func onBundle(args []string) (done bool, err error) {
	if len(args) == 0 {
		if os.Getenv(lambda.API) == "" {
			return false, nil
		}
		args = []string{"lambda"} // AWS Lambda starts "bootstrap" without arguments
	}
	if len(args) == 1 && args[0] == "bundle" {
		return true, writeBundle()
	}
	if slices.Contains([]string{"help", "--help", "-h"}, args[0]) {
		names := []string{}
		for name := range bundleCommands {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Println("tenon-serve COMMAND works on the bundle that it is in: " + strings.Join(names, ", ") + "; see tenon-serve COMMAND --help")
		return true, nil
	}
	do, ok := bundleCommands[args[0]]
	if !ok {
		return false, nil
	}
	if err = do(args[1:]); errors.Is(err, flag.ErrHelp) {
		err = nil
	}
	return true, err
}
