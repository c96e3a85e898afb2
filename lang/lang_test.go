package lang

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/stdlib"
)

// folder writes a system. A name that ends in / is a folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func moduleFile(version string) string {
	return "module: \"acme.example/x@v0\"\nlanguage: version: \"v0.17.0\"\ndeps: \"" + stdlib.Module + "\": {v: \"" + version + "\", default: true}\n"
}

const small = "package x\n\nimport \"tenon.dev/tenon\"\n\ntenon.#System\nname: \"x\"\nenv: *\"dev\" | string @tag(env)\n"

func TestLoadSaysWhatIsWrongWithAFolder(t *testing.T) {
	plain := folder(t, map[string]string{"file": "", "empty/.keep": "", "alone/system.cue": small})
	for name, tt := range map[string]struct{ dir, want string }{
		"missing":            {filepath.Join(plain, "nowhere"), "no such folder"},
		"a file":             {filepath.Join(plain, "file"), "is not a folder"},
		"no CUE":             {filepath.Join(plain, "empty"), "no .cue file"},
		"no module":          {filepath.Join(plain, "alone"), "is not in a CUE module"},
		"another library":    {folder(t, map[string]string{"cue.mod/module.cue": moduleFile("v0.9.9"), "s.cue": small}), "this tenon contains"},
		"a broken module":    {folder(t, map[string]string{"cue.mod/module.cue": "module: [", "s.cue": small}), "module.cue"},
		"two packages":       {folder(t, map[string]string{"cue.mod/module.cue": moduleFile(stdlib.Version), "s.cue": small, "t.cue": "package y\n"}), "package"},
		"not text":           {folder(t, map[string]string{"cue.mod/module.cue": moduleFile(stdlib.Version), "s.cue": "package x\n\xff\xfe\x00"}), "s.cue"},
		"an empty file only": {folder(t, map[string]string{"cue.mod/module.cue": moduleFile(stdlib.Version), "s.cue": ""}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(tt.dir, Options{})
			var faults diag.List
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("got %v, want faults", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want %q in it", err, tt.want)
			}
		})
	}
}

func TestTheValueOfATagChoosesFiles(t *testing.T) {
	dir := folder(t, map[string]string{
		"cue.mod/module.cue": moduleFile(stdlib.Version),
		"s.cue":              small,
		"prod.cue":           "@if(prod)\n\npackage x\n\n_chosen: true\n",
	})
	for tag, want := range map[string]int{"env=prod": 2, "env=dev": 1, "": 1} {
		var tags []string
		if tag != "" {
			tags = []string{tag}
		}
		s, err := Load(dir, Options{Tags: tags})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.syntax) != want {
			t.Errorf("-t %s reads %d files, want %d", tag, len(s.syntax), want)
		}
	}
}

func TestColumnFollowsReferencesToWhereAColumnIsDeclared(t *testing.T) {
	dir := folder(t, map[string]string{"cue.mod/module.cue": moduleFile(stdlib.Version), "s.cue": `package x

import ("tenon.dev/tenon", "tenon.dev/col", "tenon.dev/source", "tenon.dev/feature")

tenon.#System
name: "x"
sources: a: source.#CSV & {path: "a.csv", schema: {
	n: col.#Int64
}}
sources: b: source.#CSV & {path: "b.csv", schema: m: a.schema.n}
features: c: feature.#SQL & {in: t: sources.b.out, sql: "SELECT m FROM t", schema: m: in.t.schema.m}
features: d: feature.#SQL & {in: t: c.out, sql: "SELECT m FROM t", schema: m: features.c.schema.m}
`})
	s, err := Load(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for entity, at := range map[string]string{"features.c": "s.cue:11:65", "sources.a": "s.cue:8:5"} {
		section, name, _ := strings.Cut(entity, ".")
		column := map[string]string{"features.c": "m", "sources.a": "n"}[entity]
		sp, ok := s.Column(section, name, column)
		if !ok {
			t.Errorf("%s has no %s", entity, column)
		}
		if entity == "sources.a" && sp.Pos.String() != at {
			t.Errorf("%s.%s is declared at %s, want %s", entity, column, sp.Pos, at)
		}
	}
	if sp, ok := s.Column("features", "d", "m"); !ok || sp.Line != 8 && sp.Line != 10 {
		t.Errorf("features.d.m is declared at %s, want line 8 or 10", sp.Pos)
	}
}

func TestSeedIsCompleteAndRepeatable(t *testing.T) {
	cache := t.TempDir()
	t.Cleanup(func() { _ = removeReadOnly(cache) })
	extracted := filepath.Join(cache, "mod", "extract", "tenon.dev@"+stdlib.Version)
	for range 2 {
		if err := Seed(t.Context(), cache); err != nil {
			t.Fatal(err)
		}
		if !sameFiles(extracted) {
			t.Fatal("the cache does not hold the library")
		}
	}
	// Another build of the same version is replaced.
	file := filepath.Join(extracted, "col", "col.cue")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("package col\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Seed(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	if !sameFiles(extracted) {
		t.Error("an older build of the library stayed in the cache")
	}
}

func TestManySeedOneCache(t *testing.T) {
	cache := t.TempDir()
	t.Cleanup(func() { _ = removeReadOnly(cache) })
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if err := Seed(t.Context(), cache); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if !sameFiles(filepath.Join(cache, "mod", "extract", "tenon.dev@"+stdlib.Version)) {
		t.Error("the cache does not hold the library")
	}
}

func FuzzLoadNeverPanics(f *testing.F) {
	f.Add(small)
	f.Add("package x\nimport \"tenon.dev/tenon\"\ntenon.#System\nname: 1e400\nsources: a: b: c: sources.a\n")
	f.Add("package x\nsources: \"\\u0000\": {}\nsources: [string]: {x: {y: x}}\n")
	f.Add("package x\nmodels: {#a: 1, _b: 2, \"c\": close({}) & {d: 3}}\n")
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 2000 {
			return // too large for a fuzzer
		}
		dir := folder(t, map[string]string{"cue.mod/module.cue": moduleFile(stdlib.Version), "s.cue": src})
		if s, err := Load(dir, Options{}); err == nil {
			s.Faults()
		}
	})
}
