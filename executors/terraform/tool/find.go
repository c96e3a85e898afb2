package tool

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Tool is OpenTofu or Terraform.
type Tool struct {
	Path    string // absolute
	Name    string // "OpenTofu" or "Terraform"
	Version string // "1.12.6"
}

func (t *Tool) String() string { return t.Name + " " + t.Version }

// ErrNone is returned if none of the programs is in the path.
var ErrNone = errors.New("neither tofu nor terraform is in $PATH")

// oldest is the oldest minor version of 1 that has what the files use.
const oldest = 9

var versionLine = regexp.MustCompile(`(?m)^(OpenTofu|Terraform) v((\d+)\.(\d+)\.\d+)`)

// Find looks for a program: for name, which is "tofu", "terraform" or an absolute path, or for the first
// that there is if name is empty. It returns [ErrNone] if name is empty and there is none, and
// another error for a program that is missing, is something else, or is too old.
func Find(ctx context.Context, name string, environ []string) (*Tool, error) {
	candidates := []string{name}
	if name == "" {
		candidates = []string{"tofu", "terraform"}
	}
	for _, candidate := range candidates {
		path, err := exec.LookPath(candidate)
		if err != nil && name != "" {
			return nil, fmt.Errorf("tool: %q: %w: install it, or name another one", name, err)
		}
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
		return look(ctx, path, environ)
	}
	return nil, ErrNone
}

// look asks a program for its version.
func look(ctx context.Context, path string, environ []string) (*Tool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Dir, cmd.Env = filepath.Dir(path), environment(environ) // the folder has no configuration
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s version: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("%s is neither OpenTofu nor Terraform: it calls itself %.60q", path, out)
	}
	t := &Tool{Path: path, Name: string(m[1]), Version: string(m[2])}
	major, _ := strconv.Atoi(string(m[3]))
	minor, _ := strconv.Atoi(string(m[4]))
	if major != 1 || minor < oldest {
		return nil, fmt.Errorf("%s is %s, and the infrastructure needs 1.%d or a later 1.x: install one, or name it as tool", path, t, oldest)
	}
	return t, nil
}

// environment returns the variables for the program, without those that would change what it does.
// Variables of the provider, such as AWS_PROFILE, stay.
func environment(environ []string) []string {
	var out []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if name == "TF_WORKSPACE" || name == "TF_DATA_DIR" || name == "TF_ENCRYPTION" || name == "TF_INPUT" ||
			strings.HasPrefix(name, "TF_CLI_ARGS") || strings.HasPrefix(name, "TF_VAR_") || strings.HasPrefix(name, "TF_HTTP_") {
			continue
		}
		out = append(out, kv)
	}
	return append(out, "TF_INPUT=0", "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
}
