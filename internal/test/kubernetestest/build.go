package kubernetestest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const base = "github.com/tenon-ml/tenon/internal/test/kubernetestest"

// plugins is where Debian has those of container networks.
const plugins = "/usr/lib/cni"

// installed looks for the programs that the cluster is made of.
func installed() error {
	var missing []string
	for _, p := range []string{
		"containerd", "containerd-shim-runc-v2", "runc", "docker-registry", "versitygw", "iptables", "ip",
		plugins + "/ptp", plugins + "/host-local", plugins + "/loopback",
	} {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("a test cluster needs %s in $PATH: .ci/tools cluster installs them, versitygw into .tools/bin", strings.Join(missing, ", "))
	}
	if os.Getuid() != 0 {
		return errors.New("a test cluster needs root")
	}
	return nil
}

// Kubernetes returns the program that [Cluster]s run, and builds it if the user's
// cache does not have that of the sources. It reports that to w before it does: it takes
// minutes.
func Kubernetes(w io.Writer) (string, error) {
	return built(w, "kubeall", "k8s.io/kubernetes", func(version string) string {
		parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
		ldflags := ""
		for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
			ldflags += fmt.Sprintf(" -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s", pkg, version, parts[0], parts[1])
		}
		return ldflags
	})
}

// Names returns the program that answers for names in [Cluster]s, as [Kubernetes] does.
func Names(w io.Writer) (string, error) {
	return built(w, "names", "github.com/coredns/coredns", func(string) string { return "" })
}

// built is the program of a module of the test cluster, most of which is another module
// of a version that ldflags are made of.
func built(w io.Writer, name, most string, ldflags func(version string) string) (string, error) {
	module, err := output("", "go", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	source := filepath.Join(filepath.Dir(module), "internal", "test", "kubernetestest", "build", name)
	version, err := output(source, "go", "list", "-m", "-f", "{{.Version}}", most)
	if err != nil {
		return "", err
	}
	args := []string{"build", "-trimpath", "-ldflags", "-s -w" + ldflags(version)}

	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), args)
	for _, file := range []string{"go.mod", "go.sum", "main.go"} {
		b, err := os.ReadFile(filepath.Join(source, file))
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, len(b), string(b))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "tenon", name)
	program := filepath.Join(dir, fmt.Sprintf("%x", sum.Sum(nil)[:8]))
	unlock, err := lock(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	fmt.Fprintf(w, "building %s %s, once: this takes some minutes\n", most, version)
	if err := build(source, program+".part", append(args, "-o", program+".part", ".")...); err != nil {
		return "", err
	}
	return program, os.Rename(program+".part", program)
}

func build(dir, to string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", to, err, out)
	}
	return nil
}

func output(dir, command string, args ...string) (string, error) {
	cmd := exec.Command(command, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// push makes an image of a program and puts it into the registry.
func push(ref, program string, entrypoint ...string) error {
	b, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(b))}); err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(layer.Bytes(), types.DockerUncompressedLayer))
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.Entrypoint = "linux", runtime.GOARCH, entrypoint
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return err
	}
	to, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(to, img)
}
