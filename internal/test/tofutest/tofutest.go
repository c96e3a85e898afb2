// Package tofutest builds OpenTofu and providers for tests, once, into the user's cache, and makes them find each
// other without a network. There is an old provider of AWS, see build/provider, and one that is made from the schemas
// of the current providers, see build/schemas.
package tofutest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"

	"github.com/tenon-ml/tenon/internal/files"
)

// opentofu is the module of OpenTofu, which is a program.
const opentofu = "github.com/opentofu/opentofu@v1.12.6"

// providerVersion is the version that the provider of AWS claims to be: the one that tenon requires.
const providerVersion = "6.62.0"

// A Bed is what tests run OpenTofu with.
type Bed struct {
	Tofu string // path of the program

	dir     string
	environ []string
}

// A plugin is a provider in a mirror.
type plugin struct{ name, version, program string }

// Start makes a test bed for AWS with files below a folder. It builds the programs if the cache lacks them, which
// takes minutes, and reports that to w.
func Start(w io.Writer, dir string) (*Bed, error) {
	program, err := Provider(w)
	if err != nil {
		return nil, err
	}
	return start(w, dir, plugin{"aws", providerVersion, program})
}

// start makes a test bed with providers.
func start(w io.Writer, dir string, plugins ...plugin) (*Bed, error) {
	tofu, err := Tofu(w)
	if err != nil {
		return nil, err
	}
	b := &Bed{Tofu: filepath.Join(dir, "bin", "tofu"), dir: dir}
	host, err := registry(tofu, dir)
	if err != nil {
		return nil, err
	}
	links := map[string]string{b.Tofu: tofu}
	for _, p := range plugins {
		links[filepath.Join(dir, "mirror", host, "hashicorp", p.name, p.version, runtime.GOOS+"_"+runtime.GOARCH, "terraform-provider-"+p.name+"_v"+p.version)] = p.program
	}
	if err := link(links); err != nil {
		return nil, err
	}
	b.environ = []string{"TF_CLI_CONFIG_FILE=" + b.config()}
	rc := fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\ndisable_checkpoint = true\n", filepath.Join(dir, "mirror"))
	return b, os.WriteFile(b.config(), []byte(rc), 0o600)
}

// link makes links, with their folders.
func link(links map[string]string) error {
	for name, to := range links {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(to, name); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bed) config() string { return filepath.Join(b.dir, "tofu.rc") }

// Environ are the variables with which OpenTofu finds the providers, and they what they need, as "NAME=value".
func (b *Bed) Environ() []string { return b.environ }

// Bin is the folder of the program, for $PATH.
func (b *Bed) Bin() string { return filepath.Dir(b.Tofu) }

var registryHost = regexp.MustCompile(`provider\[([^/]+)/`)

// registry returns the host that OpenTofu takes providers without a host from: a mirror has a folder of
// that name.
func registry(tofu, dir string) (string, error) {
	empty := filepath.Join(dir, "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return "", err
	}
	text := "terraform {\n  required_providers {\n    aws = { source = \"hashicorp/aws\" }\n  }\n}\n"
	if err := os.WriteFile(filepath.Join(empty, "main.tf"), []byte(text), 0o600); err != nil {
		return "", err
	}
	out, err := run(empty, tofu, "providers", "-no-color")
	if err != nil {
		return "", err
	}
	m := registryHost.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("tofu providers names no host: %s", out)
	}
	return string(m[1]), nil
}

// Tofu returns the path of OpenTofu, and builds it if the cache lacks it.
func Tofu(w io.Writer) (string, error) {
	return built(w, "tofu", opentofu, func() (dir string, args []string, err error) {
		out, err := run("", "go", "mod", "download", "-json", opentofu)
		if err != nil {
			return "", nil, err
		}
		var module struct{ Dir string }
		if err := json.Unmarshal(out, &module); err != nil {
			return "", nil, err
		}
		return module.Dir, []string{"-mod=readonly", "./cmd/tofu"}, nil
	})
}

// Provider returns the path of the provider of AWS, and builds it if the cache lacks it.
func Provider(w io.Writer) (string, error) { return provider(w, "provider") }

// provider returns the path of the provider whose module is a folder of build.
func provider(w io.Writer, folder string) (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "internal", "test", "tofutest", "build", folder)
	entries, err := os.ReadDir(source)
	if err != nil {
		return "", err
	}
	var content bytes.Buffer
	for _, e := range entries { // sorted by name
		b, err := os.ReadFile(filepath.Join(source, e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&content, "%d %s", len(b), b)
	}
	return built(w, folder, content.String(), func() (string, []string, error) { return source, []string{"."}, nil })
}

// repository returns the folder of Tenon's module.
func repository() (string, error) {
	gomod, err := run("", "go", "env", "GOMOD")
	return filepath.Dir(string(bytes.TrimSpace(gomod))), err
}

// built returns a program that follows from an input, and builds it if the cache lacks it.
func built(w io.Writer, name, input string, how func() (dir string, args []string, err error)) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	flags := []string{"build", "-trimpath", "-ldflags=-s -w"}
	sum := sha256.Sum256(fmt.Append(nil, runtime.Version(), flags, input))
	program := filepath.Join(cache, "tenon", "tofutest", fmt.Sprintf("%s-%x", name, sum[:8]))
	lock, err := files.Lock(context.Background(), program+".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	fmt.Fprintf(w, "building %s for tests, once: this takes some minutes\n", name)
	dir, args, err := how()
	if err != nil {
		return "", err
	}
	if _, err := run(dir, "go", append(append(flags, "-o", program+".part"), args...)...); err != nil {
		return "", err
	}
	return program, os.Rename(program+".part", program)
}

// run runs a program in a folder, and returns what it prints.
func run(dir, program string, args ...string) ([]byte, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "CHECKPOINT_DISABLE=1")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, said.Bytes())
	}
	return out, nil
}
