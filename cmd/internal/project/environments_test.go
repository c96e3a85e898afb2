package project

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// For an environment, too, a compilation that evaluates only what has changed gives the result,
// or the faults, of one from nothing. What the environment adds to an entity that did not change
// is not evaluated either.
func TestAnEnvironmentIsCompiledAfterAnEdit(t *testing.T) {
	const file = "environments.cue"
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(editedSystem)).Files {
		writeFile(t, filepath.Join(dir, f.Name), string(f.Data))
	}
	writeFile(t, filepath.Join(dir, file), "package shop\n\nenvironments: dev: {}\nenvironments: prod: features: other: timeout: \"9m\"\n")
	if err := os.MkdirAll(filepath.Join(dir, ".tenon"), 0o700); err != nil {
		t.Fatal(err)
	}
	in := func(env string) *Project {
		p := quiet(t, dir)
		p.set.Env = env
		return p
	}
	for _, e := range []struct {
		file, old, new string
		reuses         bool // anything, in prod
	}{
		{"sources.cue", "max: 100", "max: 200", true},
		{file, `"9m"`, `"8m"`, false}, // belongs to no entity
		{"features.cue", "sales * 2", "sales * 3", true},
		{file, "dev: {}", "dev: sources: shops: timeout: \"3m\"", false},
		{"features.cue", "rate + 1", "rate + 2", true}, // of the entity that prod changes
		{file, "features: other: timeout: \"8m\"", "features: other: timeout: 8", false},
		{file, "timeout: 8", "timeout: \"8m\"", true},
		{"features.cue", "sales * 3", "sales * 4", true},
	} {
		for _, env := range []string{"prod", "dev"} {
			_, _ = in(env).Compile(t.Context()) // for the next one
		}
		path := filepath.Join(dir, e.file)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), e.old) {
			t.Fatalf("%s has no %s", e.file, e.old)
		}
		writeFile(t, path, strings.Replace(string(b), e.old, e.new, 1))
		for _, env := range []string{"prod", "dev"} {
			entry, err := in(env).cached("")
			if err != nil {
				t.Fatal(err)
			}
			c := in(env).compilation(nil, nil)
			c.divide, c.before, c.typings = true, entry.GetEntities(), entry.GetTypings()
			got, gotErr := c.run(t.Context())
			want, wantErr := in(env).compilation(nil, nil).run(t.Context())
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s becomes %s, in %q (-from nothing +after the edit)\n%s", e.old, e.new, env, diff)
			}
			if diff := cmp.Diff(printed(wantErr), printed(gotErr)); diff != "" {
				t.Errorf("%s becomes %s, in %q (-from nothing +after the edit)\n%s", e.old, e.new, env, diff)
			}
			if env == "prod" && wantErr == nil && c.sys.Reuses() != e.reuses {
				t.Errorf("%s becomes %s, in %q: reuses entities: %v", e.old, e.new, env, c.sys.Reuses())
			}
			if want != nil && want.System.Env != env {
				t.Errorf("the system is one of %q, want %q", want.System.Env, env)
			}
		}
	}
}
