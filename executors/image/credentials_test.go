package image

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDockerCredentials(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	const config = `{"auths": {
		"https://index.docker.io/v1/": {"username": "ann", "password": "one"},
		"registry.example.com": {"auth": "Ym9iOnR3bw=="},
		"token.example.com": {"identitytoken": "three"}
	}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string][2]string{
		"registry-1.docker.io":      {"ann", "one"},
		"registry.example.com":      {"bob", "two"},
		"token.example.com":         {"", "three"},
		"registry.example.com:5000": {"", ""},
	} {
		user, secret, err := DockerCredentials(host)
		if err != nil || user != want[0] || secret != want[1] {
			t.Errorf("%s: %q, %q, %v; want %q", host, user, secret, err, want)
		}
	}
}

func TestNamesAreReadAsDockerReadsThem(t *testing.T) {
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for ref, want := range map[string]string{
		"python":                     "docker.io/library/python:latest",
		"python:3.11":                "docker.io/library/python:3.11",
		"team/app":                   "docker.io/team/app:latest",
		"localhost/team/app:1":       "localhost/team/app:1",
		"127.0.0.1:5000/app:1":       "127.0.0.1:5000/app:1",
		"python" + digest:            "docker.io/library/python" + digest,
		"example.com/a/b:1" + digest: "example.com/a/b:1" + digest,
		"":                           "", "a/UPPER": "", "a:b:c": "", "-x/y": "", "python@sha256:0123": "", "python@md5:0123456789abcdef0123456789abcdef": "",
	} {
		got, err := parse(ref)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%q is %q, %v; want %q", ref, got, err, want)
		}
	}
}
