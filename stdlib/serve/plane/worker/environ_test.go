package worker

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A program that the service starts has no secret of the service, and everything else.
func TestEnviron(t *testing.T) {
	for _, name := range []string{"TLS_KEY", "API_KEYS", "STORE_1", "STORE_22", "STORE_FRONT", "TENON_TEST"} {
		t.Setenv(name, "x")
	}
	cmd := exec.Command("/usr/bin/env")
	cmd.Env = Environ("MORE=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
	}
	for name, want := range map[string]bool{"TLS_KEY": false, "API_KEYS": false, "STORE_1": false, "STORE_22": false, "STORE_FRONT": true, "TENON_TEST": true, "MORE": true, "PATH": true} {
		if slices.Contains(names, name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// Every secret that the component declares is on the list.
func TestSecretsOfTheComponent(t *testing.T) {
	b, err := os.ReadFile("../../http/http.cue")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\s*(?:secrets: )?([A-Z_]+):\s+"[a-z_.*]+"$`).FindAllSubmatch(b, -1)
	if len(found) < len(secrets) {
		t.Fatalf("only %d secrets in http.cue", len(found))
	}
	for _, m := range found {
		if !slices.Contains(secrets, string(m[1])) {
			t.Errorf("%s is given to programs that the service starts", m[1])
		}
	}
}
